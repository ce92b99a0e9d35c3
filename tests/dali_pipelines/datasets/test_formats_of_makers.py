"""The lists that a dataset comes with become lists of clipfeed: UCF101, Kinetics, Something-Something v2, Jester."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import UserError
from dali_pipelines import lists as command
from dali_pipelines.datasets.formats import describe_formats, format_names, list_format, read_lists
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.lists import main
from dali_pipelines.store.index import Index
from tests.helpers.indexes import build
from tests.helpers.lists_of_makers import CLASS_OF_UCF, KINETICS, SSV2, UCF


def run(root: Path, *arguments: object) -> None:
    main([*map(str, arguments), "--data-dir", str(root)])


def classes_in(root: Path, name: str) -> dict[str, str]:
    """Return name -> class of the videos of a written list."""
    index = open_dataset(root, root / name, labeled=True).index
    return {video: index.class_names[of] for video, of in zip(index.names.texts(), index.labels.tolist(), strict=True)}


def ucf101(folder: Path) -> None:
    (folder / "classInd.txt").write_text("".join(f"{i} {n.split('/')[0]}\r\n" for i, n in enumerate(UCF, start=1)))
    for split in (1, 2, 3):
        train = [name for place, name in enumerate(UCF) if place != split - 1]
        lines = "".join(f"{name}.avi {UCF.index(name) + 1}\r\n" for name in train)
        (folder / f"trainlist0{split}.txt").write_text(lines)
        (folder / f"testlist0{split}.txt").write_text(f"{UCF[split - 1]}.avi\r\n")


def test_ucf101_splits_are_written_for_class_folders_and_one_folder(tmp_path):
    folder = tmp_path / "ucfTrainTestlist"
    folder.mkdir()
    ucf101(folder)
    for root, stored in ((tmp_path / "a", UCF), (tmp_path / "b", tuple(name.split("/")[1] for name in UCF))):
        build(root, *stored, classes=CLASS_OF_UCF if stored == UCF else None)
        run(root, "auto", folder)
        for split in (1, 2, 3):
            train = classes_in(root, f"trainlist0{split}.txt")
            assert [*train] == [name for place, name in enumerate(stored) if place != split - 1]
            assert classes_in(root, f"testlist0{split}.txt") == {stored[split - 1]: [*CLASS_OF_UCF.values()][split - 1]}


CLIPS = {  # class/id -> line of a CSV
    "abseiling/0347ZoDXyP0_000095_000105": "abseiling,0347ZoDXyP0,95,105,train",
    "shooting goal (soccer)/-3B32lodo2M_000059_000069": "shooting goal (soccer),-3B32lodo2M,59,69,train",
    "abseiling/_dbcJuKJQNs_000040_000050": "abseiling,_dbcJuKJQNs,40,50,{val}",
}


def kinetics(folder: Path, *, of_400: bool) -> None:
    cc, val = (",is_cc", "val") if of_400 else ("", "validate")
    lines = [line.format(val=val) + ",0" * of_400 for line in CLIPS.values()]
    folder.mkdir(exist_ok=True)
    (folder / "train.csv").write_text(KINETICS.format(cc=cc) + "\n".join(lines[:2]) + "\n")
    (folder / ("val.csv" if of_400 else "validate.csv")).write_text(KINETICS.format(cc=cc) + lines[2] + "\n")


LAYOUTS: dict[str, Callable[[str, str], str]] = {
    "train/CLASS/ID_000010_000020": lambda split, name: f"{split}/{name}",
    "CLASS/ID_000010_000020": lambda split, name: name,
    "underscores": lambda split, name: f"{split}_256/{name.replace(' ', '_').replace('(', '').replace(')', '')}",
    "ID_000010_000020": lambda split, name: name.split("/")[1],
    "ID": lambda split, name: name.split("/")[1][:11],
    "CLASS/ID": lambda split, name: name.rsplit("_", 2)[0],
}


@pytest.mark.parametrize("of_400", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_kinetics_clips_are_found_in_every_layout(tmp_path, layout, of_400):
    kinetics(tmp_path / "annotations", of_400=of_400)
    split_of = dict(zip(CLIPS, ("train", "train", "val"), strict=True))
    stored = {LAYOUTS[layout](split_of[name], name): name.split("/")[0] for name in CLIPS}
    build(tmp_path / "data", *stored)
    run(tmp_path / "data", "kinetics", tmp_path / "annotations")
    first, second, third = stored
    assert classes_in(tmp_path / "data", "train.txt") == {first: "abseiling", second: "shooting goal (soccer)"}
    assert classes_in(tmp_path / "data", "val.txt") == {third: "abseiling"}


def test_missing_kinetics_videos_are_an_error_unless_skipped(tmp_path, capsys):
    kinetics(tmp_path / "annotations", of_400=True)
    root = tmp_path / "data"
    build(root, *[*CLIPS][1:])
    with pytest.raises(UserError, match=r"names 1 video .*abseiling/0347ZoDXyP0_000095_000105.*`--missing skip`"):
        run(root, "auto", tmp_path / "annotations")
    assert not [*root.glob("*.txt")]
    run(root, "auto", tmp_path / "annotations", "--missing", "skip")
    assert "missing: 1 listed video, named in" in capsys.readouterr().out
    assert (root / "missing.csv").read_text().splitlines()[1:] == ["abseiling/0347ZoDXyP0_000095_000105,in train.txt"]
    assert [*classes_in(root, "train.txt")] == ["shooting goal (soccer)/-3B32lodo2M_000059_000069"]


def test_kinetics_test_videos_may_be_unlabeled(tmp_path):
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\n--6bJUbfpnQ,17,27,test\n")
    build(tmp_path / "data", "test/--6bJUbfpnQ_000017_000027")
    run(tmp_path / "data", "auto", tmp_path / "test.csv")
    assert (tmp_path / "data" / "test.txt").read_text() == "test/--6bJUbfpnQ_000017_000027\n"


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_something_v2_classes_come_from_templates(tmp_path, prefix):
    for part, content in SSV2.items():
        (tmp_path / f"{prefix}{part}.json").write_text(json.dumps(content))
    root = tmp_path / "data"
    build(root, "74225", "78687", "2", "1420")
    run(root, "ssv2", tmp_path)
    assert classes_in(root, "train.txt") == {"74225": "Moving something up", "78687": "Holding something"}
    assert classes_in(root, "validation.txt") == {"2": "Holding something"}
    assert Index.load(root).class_names == tuple(SSV2["labels"])


def test_one_something_something_v2_file_is_a_list(tmp_path):
    build(tmp_path, "74225", "78687")
    (tmp_path / "train.json").write_text(json.dumps(SSV2["train"]))
    index = open_dataset(tmp_path, tmp_path / "train.json", labeled=True).index
    assert [index.class_names[label] for label in index.labels] == ["Moving something up", "Holding something"]


def test_jester_classes_come_from_its_label_file(tmp_path):
    for part, text in {
        "labels": "Swiping Left\nDoing other things\n",
        "train": "34870;Doing other things\n56557;Swiping Left\n",
        "validation": "9223;Swiping Left\n",
        "test": "7\n",
    }.items():
        (tmp_path / f"jester-v1-{part}.csv").write_text(text)
    root = tmp_path / "data"
    build(root, "34870", "56557", "9223", "7")
    run(root, "jester", tmp_path)
    assert classes_in(root, "train.txt") == {"34870": "Doing other things", "56557": "Swiping Left"}
    assert classes_in(root, "validation.txt") == {"9223": "Swiping Left"}


def test_a_csv_with_a_split_column_becomes_one_list_per_split(tmp_path):
    (tmp_path / "all.csv").write_text("filename,label,split\na.mp4,run,train\nb.mp4,walk,train\nc.mp4,run,test\n")
    root = tmp_path / "data"
    build(root, "a", "b", "c")
    run(root, "auto", tmp_path / "all.csv")
    assert classes_in(root, "train.txt") == {"a": "run", "b": "walk"}
    assert classes_in(root, "test.txt") == {"c": "run"}


def test_a_folder_without_lists_names_the_known_formats(tmp_path):
    with pytest.raises(UserError, match=r"holds no known lists\. Known are .*hmdb51: .*kinetics: .*ucf101: "):
        read_lists(tmp_path)


def test_every_format_is_listed_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    for name, about in describe_formats().items():
        assert f"{name} " in printed
        assert about in printed
        assert 20 < len(about) < 120
    assert all(callable(list_format(name).recognizes) for name in format_names())
    assert command.__doc__ is not None


def test_the_header_of_kinetics_alone_is_named_as_such(tmp_path):
    (tmp_path / "train.csv").write_text("label,youtube_id,time_start,time_end,split\n")
    for given in tmp_path / "train.csv", tmp_path:
        with pytest.raises(UserError, match=f"^{given} has the header of Kinetics and names no videos"):
            read_lists(given)


@pytest.mark.parametrize("quote", ['"', ""])
def test_the_header_of_kinetics_may_have_quotation_marks_and_spaces(tmp_path, quote):
    lines = ("label", "youtube_id", "time_start", "time_end", "split"), ("run", "-a_b", "5", "15", "train")
    text = "".join(", ".join(f"{quote}{cell}{quote}" for cell in line) + "\n" for line in lines)
    (tmp_path / "k.csv").write_text(text.replace('", "', '","'))
    (readings,) = read_lists(tmp_path / "k.csv").entries.values()
    assert [*readings[0].names, *(readings[0].labels or ())] == ["run/-a_b_000005_000015", "run"]


def test_lists_of_ucf101_may_have_tabs_and_backslashes(tmp_path):
    ucf101(folder := tmp_path)
    for file in folder.glob("*.txt"):
        file.write_text(file.read_text().replace(" ", "\t").replace("/", "\\"))
    build(root := tmp_path / "data", *UCF)
    run(root, "auto", folder)
    assert classes_in(root, "trainlist01.txt") == dict([*CLASS_OF_UCF.items()][1:])
    assert classes_in(root, "testlist01.txt") == dict([*CLASS_OF_UCF.items()][:1])
