"""Classes from lists: without class folders, from a train and a test list together, and from --labels."""

import json
from pathlib import Path
from unicodedata import normalize

import pytest

from configs.errors import UserError
from configs.schema import LabeledData
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.datasets.open import open_data, open_dataset
from dali_pipelines.lists import main
from dali_pipelines.store.index import Index
from tests.helpers.indexes import build

NAMES = tuple("abcdef")


def recipe(root: Path, train: str, test: str, **other: str) -> LabeledData:
    (root / "train.txt").write_text(train)
    (root / "test.txt").write_text(test)
    return LabeledData(root=str(root), list="train.txt", test_list="test.txt", **other)  # type: ignore[arg-type]


def classes(data: LabeledData) -> list[dict[str, str]]:
    """Return name -> class for both subsets, whose class names must be the same."""
    found = [open_data(data, "train").index, open_data(data, "test").index]
    assert found[0].class_names == found[1].class_names
    return [
        {name: of.class_names[label] for name, label in zip(of.names.texts(), of.labels.tolist(), strict=True)}
        for of in found
    ]


def test_ids_mean_the_same_classes_in_both_lists(tmp_path):
    build(tmp_path, *NAMES)
    data = recipe(tmp_path, "a 2\nb 5\nc 3\n", "d 3\ne 0\nf 5\n")
    assert classes(data) == [{"a": "2", "b": "5", "c": "3"}, {"d": "3", "e": "0", "f": "5"}]
    assert open_data(data, "train").index.labels.tolist() == [2, 5, 3]  # ids are not renumbered
    assert open_data(data, "train").index.class_names == ("0", "1", "2", "3", "4", "5")


def test_names_mean_the_same_classes_in_both_lists(tmp_path):
    build(tmp_path, *NAMES)
    data = recipe(tmp_path, "a.avi walk\nb.avi run\n", "c.avi walk\nd.avi jump\n")
    assert classes(data) == [{"a": "walk", "b": "run"}, {"c": "walk", "d": "jump"}]


def test_one_class_in_two_unicode_forms_is_one_class(tmp_path):
    build(tmp_path, *NAMES)
    composed, decomposed = (normalize(form, "café") for form in ("NFC", "NFD"))
    data = recipe(tmp_path, f"a.avi {composed}\nb.avi run\n", f"c.avi {decomposed}\nd.avi run\n")
    assert classes(data) == [{"a": composed, "b": "run"}, {"c": composed, "d": "run"}]
    (tmp_path / "labels.csv").write_text(f"a,{decomposed}\nb,{composed}\n")
    assert read_labels(str(tmp_path / "labels.csv"), ["a", "b"])[:2] == ({"a": 0, "b": 0}, (composed,))


@pytest.mark.parametrize(("train", "test"), [("a 1\nb 2\n", "c 2\nd 1\n"), ("a 1\nb 3\n", "c 2\nd 2\n")])
def test_labels_from_1_are_shifted_to_0_with_a_note(tmp_path, train, test):
    build(tmp_path, *NAMES)
    data = recipe(tmp_path, train, test)
    assert classes(data) == [dict(line.split() for line in text.splitlines()) for text in (train, test)]
    for part, of in (("train", train), ("test", test)):
        dataset = open_data(data, part)  # type: ignore[arg-type]
        assert dataset.index.labels.tolist() == [int(line.split()[1]) - 1 for line in of.splitlines()]
        assert f"the labels of {tmp_path}/{part}.txt start at 1" in dataset.notes[0]
        assert "label 1 is class '1'" in dataset.notes[0]


def test_labels_from_1_are_noted_for_a_dataset_with_classes(tmp_path):
    build(tmp_path, "run/a", "walk/b", classes={"run/a": "run", "walk/b": "walk"})
    for text in ("run/a 1\nwalk/b 2\n", "walk/b 002\nrun/a 001\n"):
        (dataset := tmp_path / "list.txt").write_text(text)
        (note,) = open_dataset(tmp_path, dataset, labeled=True).notes
        assert note == f"the labels of {dataset} start at 1; here class ids start at 0, and its label 1 is class 'run'"
    dataset.write_text("run/a 0\nwalk/b 1\n")
    assert open_dataset(tmp_path, dataset, labeled=True).notes == []


def test_class_ids_do_not_depend_on_which_videos_are_missing(tmp_path):
    build(tmp_path, *NAMES)
    data = recipe(tmp_path, "a.avi run\nb.avi walk\n", "c.avi run\ngone.avi jump\n", missing="skip")
    assert classes(data) == [{"a": "run", "b": "walk"}, {"c": "run"}]
    assert open_data(data, "train").index.class_names == ("jump", "run", "walk")
    build(tmp_path / "data", *NAMES)
    main(["auto", str(tmp_path / "test.txt"), "--data-dir", str(tmp_path / "data"), "--missing", "skip"])
    assert Index.load(tmp_path / "data").class_names == ("jump", "run")


def test_spaces_beside_a_comma_belong_to_neither_name_nor_label(tmp_path):
    build(tmp_path, "run, fast/a", "walk/b")
    (tmp_path / "list.csv").write_text("run, fast/a , 10\nwalk/b, 0\n")
    index = open_dataset(tmp_path, tmp_path / "list.csv", labeled=True).index
    assert index.labels.tolist() == [10, 0]
    assert index.class_names == tuple(map(str, range(11)))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            "a.avi 1\nb.avi 2\n",
            "c.avi run\nd.avi walk\n",
            "one.txt has class ids, .*two.txt has class names",
        ),
        ("a.avi 1\nb.avi 2\n", "c.avi 1\nb.avi 1\n", "two.txt has a second label for b: 1 after 2; a video has one"),
    ],
)
def test_lists_that_contradict_each_other_are_refused(tmp_path, train, test, message):
    """By `clipfeed lists`, too, which once took mixed ids and names for the names of four classes."""
    build(tmp_path / "data", *NAMES)
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(train), two.write_text(test)
    with pytest.raises(UserError, match=message):
        open_dataset(tmp_path / "data", one, labeled=True, others=[two])
    with pytest.raises(UserError, match=message):
        main(["auto", str(one), str(two), "--data-dir", str(tmp_path / "data")])
    assert Index.load(tmp_path / "data").class_names == ()


def test_a_test_list_without_labels_is_refused_before_training(tmp_path):
    build(tmp_path, *NAMES)
    with pytest.raises(UserError, match=r"test.txt has no labels .*; write classes into the dataset"):
        open_data(recipe(tmp_path, "a 0\nb 1\n", "c\nd\n"), "train")


def test_labels_that_contradict_the_datasets_classes_are_refused(tmp_path):
    names = ["run/a", "run/b", "walk/c", "walk/d"]
    build(tmp_path, *names, classes={name: name.split("/")[0] for name in names})
    (tmp_path / "list.txt").write_text("run/a 0\nrun/b 1\nwalk/c 0\nwalk/d 1\n")
    with pytest.raises(UserError, match=r"groups the videos into other classes than .*: they are of different"):
        open_dataset(tmp_path, tmp_path / "list.txt", labeled=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a,0\nb,\n", "has an empty label for b"),
        ("a,0\nb,-1\n", "has the label -1 for b: class ids are 0 or more"),
        ("a,run\na.mp4,run\nb,walk\na,walk\n", "has a second label for a: walk after run; a video has one class"),
        ("a,run\nb,walk\na.mp4,walk\n", "has a second label for a: walk after run"),
        ("a,0\nb,1;2\n", "has several labels for b, 1;2: a video has one class"),
        ("a,0\nb,99999999999999999999999999\n", "the class id 99999999999999999999999999 is not below 1000000"),
        ("a,0\nb,1000000\n", "the class id 1000000 is not below 1000000"),
        ("name,label,split\n", "names no videos"),  # a header alone
    ],
)
def test_bad_labels_are_a_one_line_error(tmp_path, lines, message):
    build(tmp_path, "a", "b")
    (tmp_path / "labels.csv").write_text(lines)
    with pytest.raises(UserError, match=message) as raised:
        read_labels(str(tmp_path / "labels.csv"), ["a", "b"])
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=message):
        open_dataset(tmp_path, tmp_path / "labels.csv", labeled=True)
    with pytest.raises(UserError, match=message):
        main(["auto", str(tmp_path / "labels.csv"), "--data-dir", str(tmp_path)])
    assert Index.load(tmp_path).class_names == ()


@pytest.mark.parametrize("header", ["", "name,label\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_byte_order_mark_of_labels_is_ignored(tmp_path, header, encoding):
    (tmp_path / "labels.csv").write_bytes(f"{header}run/a.avi,x\r\nb c,y\r\n".encode(encoding))
    assert read_labels(str(tmp_path / "labels.csv"), ["run/a", "b c"])[:2] == ({"run/a": 0, "b c": 1}, ("x", "y"))


def test_a_list_of_labels_has_the_notes_of_other_lists(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("name,label,time_start\na,1,0\nb,2,3\na,1,5\n")
    again, times, base = read_labels(str(path), ["a", "b"])[2]
    assert again == f"1 of 3 lines of {path} name a video again, such as a"
    assert times.startswith("the list states times, which are not read")
    assert base.startswith(f"the labels of {path} start at 1")


def test_labels_may_come_from_any_labeled_list(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps([{"name": "x/b.mp4", "label": 2}, {"name": "./x/a", "label": 1}]))
    assert read_labels(str(tmp_path / "labels.json"), ["x/a", "x/b"])[:2] == ({"x/a": 0, "x/b": 1}, ("1", "2"))
    (tmp_path / "labels.txt").write_text("/root/x/b.mp4 0\n/root/x/a.mp4 7\n")
    ids, names = read_labels(str(tmp_path / "labels.txt"), ["x/a", "x/b"])[:2]
    assert (ids, len(names)) == ({"x/a": 7, "x/b": 0}, 8)
    (tmp_path / "labels.csv").write_text("b,run\na,walk\n")
    with pytest.raises(UserError, match=r"b may be any of x/b, y/b; write the name with its folders"):
        read_labels(str(tmp_path / "labels.csv"), ["x/b", "y/b", "a"])


def test_lists_written_in_turn_share_their_classes(tmp_path):
    build(tmp_path / "data", *NAMES)
    (tmp_path / "train.csv").write_text("path,label\na,walk\nb,run\nc,jump\n")
    (tmp_path / "test.csv").write_text("path,label\nd,run\ne,walk\n")
    for name in ("train.csv", "test.csv"):
        main(["auto", str(tmp_path / name), "--data-dir", str(tmp_path / "data")])
    index = Index.load(tmp_path / "data")
    assert index.class_names == ("jump", "run", "walk")
    assert index.labels.tolist() == [2, 1, 0, 1, 2, -1]


def test_lists_written_together_share_their_classes(tmp_path, capsys):
    build(tmp_path / "data", *NAMES)
    (tmp_path / "train.txt").write_text("a 1\nb 3\n")
    (tmp_path / "test.txt").write_text("c 2\nd 1\n")
    main(["auto", str(tmp_path / "train.txt"), str(tmp_path / "test.txt"), "--data-dir", str(tmp_path / "data")])
    index = Index.load(tmp_path / "data")
    assert index.class_names == ("1", "2", "3")
    assert index.labels.tolist() == [0, 2, 1, 0, -1, -1]
    assert "start at 1; here class ids start at 0, and its label 1 is class '1'" in capsys.readouterr().out


def test_other_classes_are_replaced_with_a_note(tmp_path, capsys):
    names = ("one/a", "one/b", "two/c")
    build(tmp_path / "data", *names, classes={name: name.split("/")[0] for name in names})
    (tmp_path / "list.txt").write_text("a.avi run\nb.avi walk\nc.avi run\n")
    main(["auto", str(tmp_path / "list.txt"), "--data-dir", str(tmp_path / "data")])
    assert Index.load(tmp_path / "data").class_names == ("run", "walk")
    assert "the classes of" in (printed := capsys.readouterr().out)
    assert "(one, two) are replaced by the lists'" in printed


def test_a_users_list_is_never_overwritten(tmp_path):
    build(tmp_path / "data", *NAMES)
    (tmp_path / "train.csv").write_text("path,label\na,walk\nb,run\n")
    (tmp_path / "data" / "train.txt").write_text("my own\n")
    with pytest.raises(UserError, match=r"train.txt is a list of yours, which is not written over: move it away"):
        main(["auto", str(tmp_path / "train.csv"), "--data-dir", str(tmp_path / "data")])
    assert (tmp_path / "data" / "train.txt").read_text() == "my own\n"
    assert Index.load(tmp_path / "data").class_names == ()
    (tmp_path / "gone.csv").write_text("path,label\ngone,walk\na,walk\n")
    with pytest.raises(UserError, match=f"^{tmp_path}/gone.csv names 1 video "):
        main(["auto", str(tmp_path / "gone.csv"), "--data-dir", str(tmp_path / "data")])
    with pytest.raises(UserError, match=r"train.txt would be written twice, or is the list itself"):
        main(["auto", str(tmp_path / "data" / "train.txt"), "--data-dir", str(tmp_path / "data")])


def test_missing_videos_may_be_skipped_and_are_named(tmp_path):
    build(tmp_path, *NAMES)
    data = recipe(tmp_path, "a 0\ngone 0\nb 1\n", "c 1\nlost.mp4 0\n")
    with pytest.raises(UserError, match=r"names 1 video .* \(gone\).*`--set data.missing=skip`"):
        open_data(data, "train")
    data = recipe(tmp_path, "a 0\ngone 0\nb 1\n", "c 1\nlost.mp4 0\n", missing="skip")
    train, test = open_data(data, "train"), open_data(data, "test")
    assert (train.missing, test.missing) == (("gone",), ("lost.mp4",))
    assert train.index.names.texts() == ("a", "b")
    assert train.notes == [f"1 of 3 videos of {tmp_path}/train.txt missing: gone"]
    with pytest.raises(UserError, match=r"names 2 videos that .* does not hold \(x, y\)"):
        open_data(recipe(tmp_path, "x 0\ny 1\n", "c 1\n", missing="skip"), "train")
