"""The makers' lists of HMDB51 and Something-Something v1, converted for a prepared dataset."""

import csv
from pathlib import Path

import pytest

from configs.errors import UserError
from dali_pipelines import prepare
from dali_pipelines.datasets import formats
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.lists import main
from dali_pipelines.store.index import Index
from tests.helpers.archives import numbered, write_pictures
from tests.helpers.indexes import record

CLAP = ["#20_Rhythm_clap_u_nm_np1_fr_goo_0", "Alex_clap_u_nm_np1_fr_med_0", "(b)_v.2_clap_u_nm_np1_fr_med_1"]
CLIMB = ["Wand_climb_stairs_f_cm_np1_ba_bad_0", "Wand_climb_stairs_f_cm_np1_ba_bad_1"]
FLAGS = {1: ("121", "10"), 2: ("212", "21"), 3: ("101", "12")}  # split -> flags of CLAP and of CLIMB
LISTS = {
    "trainlist01.txt": ["clap/" + CLAP[0], "clap/" + CLAP[2], "climb_stairs/" + CLIMB[0]],
    "testlist01.txt": ["clap/" + CLAP[1]],
    "trainlist02.txt": ["clap/" + CLAP[1], "climb_stairs/" + CLIMB[1]],
    "testlist02.txt": ["clap/" + CLAP[0], "clap/" + CLAP[2], "climb_stairs/" + CLIMB[0]],
    "trainlist03.txt": ["clap/" + CLAP[0], "clap/" + CLAP[2], "climb_stairs/" + CLIMB[0]],
    "testlist03.txt": ["climb_stairs/" + CLIMB[1]],
}


@pytest.fixture
def splits(tmp_path) -> Path:
    """Write lists of two HMDB51 classes in the makers' format, with a space at the end of every line."""
    folder = tmp_path / "splits"
    folder.mkdir()
    for split, flags in FLAGS.items():
        for name, videos, own in zip(("clap", "climb_stairs"), (CLAP, CLIMB), flags, strict=True):
            lines = [f"{video}.avi {flag} \n" for video, flag in zip(videos, own, strict=True)]
            (folder / f"{name}_test_split{split}.txt").write_text("".join(lines))
    return folder


def hmdb51(root: Path, *, without: str = "-") -> Path:
    labels = {f"clap/{v}": 0 for v in CLAP} | {f"climb_stairs/{v}": 1 for v in CLIMB}
    records = {name: record() for name in labels if without not in name}
    Index.build(root, records, labels=labels, class_names=("clap", "climb_stairs")).save()
    return root


def make(dataset: str, lists: Path, root: Path) -> None:
    main([dataset, str(lists), "--data-dir", str(root)])


def labels(root: Path, name: str) -> list[int]:
    return open_dataset(root, root / name, labeled=True).index.labels.tolist()


def contents(root: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().splitlines() for path in root.glob("*.txt")}


def test_hmdb51_flags_become_three_train_and_three_test_lists(splits, tmp_path, capsys):
    root = hmdb51(tmp_path / "data")
    make("hmdb51", splits, root)
    assert contents(root) == LISTS
    assert f"{root / 'trainlist01.txt'}: 3 videos" in capsys.readouterr().out
    assert labels(root, "trainlist02.txt") == [0, 1]
    assert labels(root, "testlist02.txt") == [0, 0, 1]


def test_quarantined_videos_are_skipped_and_named(splits, tmp_path, capsys):
    root = hmdb51(tmp_path / "data", without=CLAP[2])
    with (root / "quarantine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "reason"), (f"/films/clap/{CLAP[2]}.avi", "truncated, alas")])
    make("hmdb51", splits, root)
    assert contents(root) == {name: [v for v in videos if CLAP[2] not in v] for name, videos in LISTS.items()}
    note = f"1 of 3 videos of {root}/trainlist01.txt quarantined (reasons in {root}/quarantine.csv): clap/{CLAP[2]}"
    assert note in capsys.readouterr().out


def test_missing_videos_are_counted_and_no_list_is_written(splits, tmp_path):
    root = hmdb51(tmp_path / "data", without="climb_stairs")
    with pytest.raises(UserError, match=rf"names 1 video that {root} does not hold \(climb_stairs/{CLIMB[0]}.avi\)"):
        make("hmdb51", splits, root)
    assert contents(root) == {}


@pytest.mark.parametrize("line", ["Alex_clap_u_nm_np1_fr_med_0.avi 3", "Alex_clap_u_nm_np1_fr_med_0.avi", "1"])
def test_a_line_without_a_flag_is_quoted(splits, tmp_path, line):
    path = splits / "clap_test_split3.txt"
    path.write_text(f"{CLAP[0]}.avi 1\n{line}\n")
    with pytest.raises(UserError, match=f"{path}: a line must be a video and 0, 1 or 2, and not '{line}'"):
        make("hmdb51", splits, hmdb51(tmp_path / "data"))


def test_missing_lists_are_named(splits, tmp_path):
    root = hmdb51(tmp_path / "data")
    with pytest.raises(UserError, match=f"{tmp_path} holds no .*_test_split1.txt: give the folder testTrainMulti"):
        make("hmdb51", tmp_path, root)
    (splits / "clap_test_split2.txt").unlink()
    with pytest.raises(UserError, match=r"cannot read the list of videos .*clap_test_split2.txt': No such file"):
        make("hmdb51", splits, root)
    with pytest.raises(
        UserError, match=r"cannot read the list of videos .*something-something-v1-labels.csv': No such"
    ):
        make("ssv1", splits, root)
    with pytest.raises(UserError, match="nowhere does not exist; make a dataset with"):
        make("ssv1", splits, tmp_path / "nowhere")
    assert contents(root) == {}


LABELS = ["Turning something, then something else", "Holding something", "Dropping something"]


@pytest.fixture
def makers(tmp_path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for part, lines in {
        "labels": LABELS,
        "train": [f"20;{LABELS[1]}", f"3;{LABELS[0]}", f"9;{LABELS[2]}"],
        "validation": [f"100;{LABELS[0]}", f"8;{LABELS[1]}"],
        "test": ["7"],
    }.items():
        (folder / f"something-something-v1-{part}.csv").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_prepare_and_lists_give_labeled_lists_of_something_something(makers, tmp_path, capsys):
    source, root = tmp_path / "20bn-something-something-v1", tmp_path / "data"
    for name in ("20", "3", "9", "100", "8", "7"):
        write_pictures(source / name, numbered(3))
    (source / "8" / "00002.jpg").unlink()
    arguments = [str(source), "--out", str(root), "--workers", "1"]
    assert prepare.main(arguments) == 3
    make("ssv1", makers, root)
    printed = capsys.readouterr().out
    assert f"1 of 2 videos of {root}/validation.txt quarantined (reasons in {root}/quarantine.csv): 8" in printed
    assert "3 classes; 1 of 5 videos without a class" in printed

    assert contents(root) == {"train.txt": ["20", "3", "9"], "validation.txt": ["100"]}
    assert labels(root, "train.txt") == [1, 0, 2]
    assert labels(root, "validation.txt") == [0]
    index = Index.load(root)
    assert index.class_names == tuple(LABELS)
    assert dict(zip(index.names.texts(), index.labels.tolist(), strict=True))["7"] == -1

    assert prepare.main(arguments) == 3  # writes a new index, without the classes
    with pytest.raises(UserError, match=r"3 videos without a class, .* with `clipfeed lists`"):
        labels(root, "train.txt")
    make("ssv1", makers, root)
    assert labels(root, "train.txt") == [1, 0, 2]


@pytest.mark.parametrize("line", ["20;Holding nothing", "20", "20,Holding something"])
def test_an_unknown_label_is_an_error_and_keeps_the_index(makers, tmp_path, line):
    Index.build(tmp_path / "data", {"20": record()}).save()
    before = (tmp_path / "data" / "index.npz").read_bytes()
    (makers / "something-something-v1-train.csv").write_text(f"{line}\n")
    with pytest.raises(UserError, match=rf"v1-train.csv: a line must be .*labels.csv, and not '{line}'"):
        make("ssv1", makers, tmp_path / "data")
    assert (tmp_path / "data" / "index.npz").read_bytes() == before


def test_a_folder_of_lists_is_refused_with_the_command_to_write_them(makers, splits, tmp_path):
    root = hmdb51(tmp_path / "data")
    for folder, count in ((splits, 6), (makers, 2)):
        with pytest.raises(UserError, match=rf"holds {count} lists: write them with `clipfeed lists"):
            open_dataset(root, folder)


TOY_FORMAT = """
from dali_pipelines.datasets.formats import Lists, Reading

def recognizes(source):
    return source.path.suffix == ".toy"

def read(source):
    labels, names = zip(*(line.split("|") for line in source.lines))
    return Lists(entries={source.path.name: [Reading(names=names, labels=labels)]})
"""


def test_a_new_format_takes_one_file(tmp_path, monkeypatch):
    """The file stands for one that a contributor adds to the package."""
    (tmp_path / "toy.py").write_text(TOY_FORMAT)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    root = hmdb51(tmp_path / "data")
    (tmp_path / "some.toy").write_text(f"3|climb_stairs/{CLIMB[1]}.avi\n1|clap/{CLAP[2]}\n")
    dataset = open_dataset(root, tmp_path / "some.toy")
    assert dataset.index.names.texts() == (f"climb_stairs/{CLIMB[1]}", f"clap/{CLAP[2]}")


def test_lists_of_hmdb51_may_have_tabs(splits, tmp_path):
    for file in splits.iterdir():
        file.write_text(file.read_text().replace(" ", "\t"))
    make("hmdb51", splits, root := hmdb51(tmp_path / "data"))
    assert contents(root) == LISTS
