"""Folders of splits and of classes."""

import json
from pathlib import Path
from unicodedata import normalize

import pytest

from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.datasets.layouts import describe_classes, split_of, write_split_lists
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.lists import main
from dali_pipelines.store.index import Index
from tests.helpers.indexes import build
from tests.helpers.media import make_video
from tests.helpers.prepared import SMALL, prepare

NAMES = ("train/run/a", "train/run/b", "train/walk/deep/c", "val/jump/f", "val/run/d", "val/walk/e")


def classes(*names: str) -> dict[str, str | None]:
    ids, class_names = read_labels("folders", names)[:2]
    return {name: None if number < 0 else class_names[number] for name, number in ids.items()}


@pytest.mark.parametrize(
    ("train", "val"),
    [
        *(("train", "val"), ("training", "validation"), ("train_256", "val_256"), ("videos_train", "videos_val")),
        *(("Train", "Test"), ("train", "testing"), ("rawframes_train_320x256", "rawframes_val_320x256")),
        *(("k400/train", "k400/val"), ("data/k400/train", "data/k400/validate")),
    ],
)
def test_split_folders_contain_the_class_folders(train, val):
    names = [name.replace("train/", f"{train}/").replace("val/", f"{val}/") for name in NAMES]
    assert list(classes(*names).values()) == ["run", "run", "walk", "jump", "run", "walk"]
    assert split_of(names) == [train.split("/")[-1]] * 3 + [val.split("/")[-1]] * 3


def test_one_class_in_two_unicode_forms_is_one_class():
    composed, decomposed = normalize("NFC", "café"), normalize("NFD", "café")
    names = (f"train/{composed}/a", f"val/{decomposed}/b")
    assert classes(*names) == dict.fromkeys(names, composed)


def test_other_folders_are_classes():
    for names in (("run/a", "walk/b/c"), ("train/a", "bus/b"), ("train/x/a", "bus/x/b"), ("trainer/x", "values/x")):
        assert classes(*names) == {name: name.split("/")[0] for name in names}
        assert set(split_of(names)) == {""}
    assert classes("a", "run/b") == {"a": None, "run/b": "run"}


def test_videos_directly_in_splits_have_no_classes(tmp_path):
    names = ("train/a", "train/b", "val/c")
    assert classes(*names) == dict.fromkeys(names)
    lines = describe_classes(build(tmp_path, *names))
    assert lines == [
        "classes: none; they come from folders of classes, or from --labels LIST",
        "splits: train (2 videos), val (1 video)",
    ]


def test_split_lists_are_written_and_can_be_opened(tmp_path):
    index = build(tmp_path, *NAMES, classes={name: name.split("/")[1] for name in NAMES})
    assert describe_classes(index) == [
        "classes: 3 (jump, run, walk)",
        "splits: train (3 videos), val (3 videos)",
    ]
    assert open_dataset(tmp_path).notes == []
    assert len(write_split_lists(index)) == 2
    train = open_dataset(tmp_path, tmp_path / "train.txt", labeled=True)
    assert train.index.names.texts() == NAMES[:3]
    assert train.index.class_names == ("jump", "run", "walk")
    assert open_dataset(tmp_path, tmp_path / "val.txt").index.names.texts() == NAMES[3:]
    (note,) = open_dataset(tmp_path).notes
    assert "are taken, whatever their list (3 of train.txt, 3 of val.txt); --set data.list=train.txt takes that" in note


@pytest.mark.parametrize("odd", ["line\nbreak", "return\r", "space ", "latin\udce9\n"])
def test_names_that_no_line_holds_are_listed_too(tmp_path, odd):
    names = tuple(sorted({f"train/run/{name}" for name in (odd, odd.strip(), "plain", f"{odd}y")}))
    assert len(write_split_lists(build(tmp_path, *names))) == 1
    assert open_dataset(tmp_path, tmp_path / "train.txt").index.names.texts() == names
    assert "of yours" not in write_split_lists(build(tmp_path, *names))[0]


def test_split_lists_are_rewritten_but_the_users_are_kept(tmp_path):
    (tmp_path / "val.txt").write_text("val/run/d.mp4 1\n")
    lines = write_split_lists(build(tmp_path, *NAMES))
    assert any("val.txt is a list of yours and stays; val/ has 3 videos" in line for line in lines)
    assert (tmp_path / "val.txt").read_text() == "val/run/d.mp4 1\n"
    assert (tmp_path / "train.txt").read_text() == "".join(f"{name}\n" for name in NAMES[:3])
    write_split_lists(build(tmp_path, *NAMES[1:]))
    assert (tmp_path / "train.txt").read_text() == "".join(f"{name}\n" for name in NAMES[1:3])
    (tmp_path / "train.txt").write_text("train/run/b\n")
    write_split_lists(build(tmp_path, *NAMES))
    assert (tmp_path / "train.txt").read_text() == "train/run/b\n"


def test_a_list_of_clipfeed_lists_is_kept_by_prepare(tmp_path):
    index = build(tmp_path / "data", *NAMES)
    write_split_lists(index)
    (tmp_path / "train.csv").write_text("path,label\ntrain/run/b,run\n")
    main(["auto", str(tmp_path / "train.csv"), "--data-dir", str(tmp_path / "data")])
    assert any("train.txt is a list of `clipfeed lists` and stays" in line for line in write_split_lists(index))
    assert (tmp_path / "data" / "train.txt").read_text() == "train/run/b\n"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"train.txt": 1}', '{"train.txt": {"videos": "x"}}', "[" * 99999])
def test_a_damaged_record_of_lists_keeps_existing_lists(tmp_path, content):
    (tmp_path / "lists.json").write_text(content)
    (tmp_path / "train.txt").write_text("mine\n")
    write_split_lists(build(tmp_path, *NAMES))
    assert (tmp_path / "train.txt").read_text() == "mine\n"
    assert json.loads((tmp_path / "lists.json").read_text()).keys() == {"val.txt"}


def test_names_with_odd_bytes_survive_a_list(tmp_path):
    names = ("train/x/a\udcff", "val/x/b\x85c")
    write_split_lists(build(tmp_path, *names))
    assert open_dataset(tmp_path, tmp_path / "train.txt").index.names.texts() == names[:1]
    assert open_dataset(tmp_path, tmp_path / "val.txt").index.names.texts() == names[1:]


def test_prepare_prints_classes_and_splits_and_writes_their_lists(tmp_path, capsys):
    source: Path = tmp_path / "kinetics"
    for name in ("train/run/a", "train/walk/b", "val/run/c"):
        make_video(source / f"{name}.mp4", frames=3)
    assert prepare(source, "--out", tmp_path / "data", *SMALL) == 0
    printed = capsys.readouterr().out
    assert "classes: 2 (run, walk)" in printed
    assert "splits: train (2 videos), val (1 video)" in printed
    assert Index.load(tmp_path / "data").class_names == ("run", "walk")
    train = open_dataset(tmp_path / "data", tmp_path / "data" / "train.txt", labeled=True).index
    assert train.names.texts() == ("train/run/a", "train/walk/b")
