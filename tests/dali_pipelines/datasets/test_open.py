"""Open a dataset from a root and a list: valid lines, and listed videos that are quarantined or missing."""

import json
import re
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.store.index import Index
from tests.helpers.finetuning import labeled
from tests.helpers.finetuning import train as finetune
from tests.helpers.indexes import listing, quarantine, record
from tests.helpers.runs import write_recipe
from trainers.commands import pretrain, probe
from trainers.commands import test as testing

NAMES = ("run/a", "run/b", "walk/c d", "walk/e.f")


@pytest.fixture
def root(tmp_path) -> Path:
    Index.build(tmp_path, dict.fromkeys(NAMES, record())).save()
    return tmp_path


def test_a_name_with_spaces_and_dots_is_found_in_a_list(tmp_path):
    Index.build(tmp_path, {"a b/c.d 1": record(), "a b/c.d": record()}).save()
    chosen = open_dataset(tmp_path, listing(tmp_path, "a b/c.d 1 3", "a b/c.d.mp4 5", "a b/c.d 1.avi 3"))
    assert chosen.index.names.texts() == ("a b/c.d 1", "a b/c.d", "a b/c.d 1")


def test_missing_names_are_counted_and_quoted(root):
    names = listing(root, "run/b", *(f"run/x{i}.avi 1" for i in range(5)))
    with pytest.raises(UserError, match=r"names 5 videos .*run/x0.avi, run/x1.avi, run/x2.avi and 2 more") as raised:
        open_dataset(root, names)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "line",
    [
        *("run/lost.avi 2", "run/lost.avi", "run/lost", "run/lost 2", "lost.avi", "UCF/run/lost.avi"),
        *("/elsewhere/UCF-101/run/lost.mp4 3", r"run\lost"),
    ],
)
def test_a_quarantined_video_is_skipped_and_the_order_kept(root, line):
    quarantine(root, "/films/UCF/run/lost.avi")
    found = open_dataset(root, listing(root, "walk/e.f.avi 1", "", line, "run/a.avi 2", "run/a.avi 2"))
    assert found.index.names.texts() == ("walk/e.f", "run/a", "run/a")
    ((name, reason),) = found.quarantined.items()
    assert (PureWindowsPath(name).stem, reason) == ("lost", "truncated, alas")
    begin = f"1 of 4 videos of {root}/list.txt quarantined (reasons in {root}/quarantine.csv): "
    assert found.notes[0] == begin + name


def test_many_quarantined_videos_are_counted_and_the_first_named(root):
    lost = [f"run/x{number:02d}.avi" for number in range(13)]
    quarantine(root, *(f"/films/{name}" for name in lost))
    (note,) = open_dataset(root, listing(root, *lost, *NAMES)).notes
    assert note.startswith("13 of 17 videos of ")
    assert note.endswith(f"{', '.join(lost[:10])} and 3 more")


def test_only_videos_that_are_not_quarantined_are_an_error(root):
    quarantine(root, "/films/run/lost.avi")
    names = listing(root, "run/lost.avi", "run/a.avi", "run/never.avi 1", "walk/lost.avi")
    with pytest.raises(UserError, match=r"names 2 videos that .* does not hold \(run/never.avi, walk/lost.avi\), nor"):
        open_dataset(root, names)


def test_a_stored_video_stays_if_a_quarantined_one_has_its_name(root):
    quarantine(root, "/broken/run/a.avi", "/broken/walk/c d.avi")
    found = open_dataset(root, listing(root, "run/a.avi", "walk/c d.avi 1"))
    assert found.index.names.texts() == ("run/a", "walk/c d")
    assert found.quarantined == {}


def test_a_list_with_no_usable_video_says_why(root):
    names = listing(root, "run/lost.avi")
    with pytest.raises(UserError, match=re.escape(f"names 1 video that {root} does not hold (run/lost.avi)")):
        open_dataset(root, names)
    quarantine(root, "/films/run/lost.avi")
    why = f"nothing is left of the list: 1 of 1 video of {names} quarantined (reasons in {root}/quarantine.csv)"
    with pytest.raises(UserError, match=re.escape(why)):
        open_dataset(root, names)


def test_unusable_lists_are_named(root):
    with pytest.raises(UserError, match=r"videos .*gone.txt': it does not exist; .* --set data.list=null"):
        open_dataset(root, root / "gone.txt")
    (root / "list.txt").write_bytes(b"run/a\0\n")
    with pytest.raises(UserError, match=r"it is not text"):
        open_dataset(root, root / "list.txt")
    with pytest.raises(UserError, match=r"list.txt names no videos"):
        open_dataset(root, listing(root, "", ""))
    with pytest.raises(UserError, match=r"index.npz is a file and not the folder of a dataset"):
        open_dataset(root / "index.npz", root / "list.txt")


def test_without_a_list_all_videos_are_used(root):
    dataset = open_dataset(root)
    assert (dataset.index.names.texts(), dataset.notes) == (NAMES, [])


@pytest.fixture(scope="module")
def damaged(vp9_store, tmp_path_factory) -> Path:
    """Return a dataset whose labeled train and test lists each name one quarantined video."""
    root = labeled(vp9_store, tmp_path_factory.mktemp("damaged"))
    Index.load(root).select(np.setdiff1d(np.arange(12), [0, 11])).save()
    index = Index.load(root)
    lost = set(vp9_store.names.texts()) - set(index.names.texts())
    assert lost == {"class0/video00", "class1/video11"}
    quarantine(root, *(f"/films/{name}.avi" for name in sorted(lost)))
    return root


@pytest.mark.slow
def test_every_command_skips_quarantined_videos_with_one_note(damaged, tmp_path, capsys):
    why = f"quarantined (reasons in {damaged}/quarantine.csv): "
    train = f"note: 1 of 10 videos of {damaged}/train.txt {why}class0/video00.avi"
    test = f"note: 1 of 2 videos of {damaged}/test.txt {why}class1/video11.avi"

    def notes_printed() -> list[str]:
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: 1 of")]

    def notes_saved(result: dict[str, Any]) -> list[str]:
        return [f"note: {note}" for note in result["notes"] if note.startswith("1 of")]

    recipe = write_recipe(tmp_path, damaged)
    pretrain.main(["--config", str(recipe), "--device", "cpu", "--max-steps", "1", "--set", "data.list=train.txt"])
    assert notes_printed() == [train]
    run = finetune(tmp_path, damaged, "--mode", "scratch", "--max-steps", 1, name="classes")
    assert notes_printed() == [train, test]
    options = ["--checkpoint", str(run), "--device", "cpu", "--clips", "1"]
    testing.main([*options, "--protocol", "video"])
    assert notes_printed() == [test]
    result = json.loads((run / "test_video" / "result.json").read_text())
    assert result["videos"] == 1
    assert f"note: {result['notes'][0]}" == test
    testing.main([*options, "--protocol", "retrieval"])
    assert notes_printed() == [train, test]
    result = json.loads((run / "test_retrieval" / "retrieval.json").read_text())
    assert notes_saved(result) == [train, test]
    lists = ["--train", "train.txt", "--test", "test.txt"]
    probe.main(["--work-dir", str(tmp_path / "run"), *lists, "--device", "cpu", "--clips", "1"])
    assert notes_printed() == [train, test]


@pytest.mark.slow
def test_skipped_missing_videos_are_named_in_the_work_dir(vp9_store, tmp_path, capsys):
    store = labeled(vp9_store, tmp_path / "data")
    with (store / "train.txt").open("a") as file:
        file.write("class0/dead_link.mp4 1\n")
    options = ["--config", str(write_recipe(tmp_path, store)), "--device", "cpu", "--max-steps", "1"]
    with pytest.raises(UserError, match=r"dead_link.mp4\).*`--set data.missing=skip`"):
        pretrain.main([*options, "--set", "data.list=train.txt"])
    pretrain.main([*options, "--set", "data.list=train.txt", "--set", "data.missing=skip"])
    assert f"note: 1 of 11 videos of {store}/train.txt missing: class0/dead_link.mp4" in capsys.readouterr().out
    named = (tmp_path / "run" / "missing.csv").read_text().splitlines()
    assert named == ["name,reason", f"class0/dead_link.mp4,not in {store}"]


def test_videos_listed_twice_are_taken_twice_with_a_note(root):
    found = open_dataset(root, listing(root, "run/a", "walk/e.f.avi", "run/a.avi", "walk/e.f.avi", "walk/e.f"))
    assert len(found.index) == 5
    (note,) = found.notes
    assert note.startswith(f"3 of 5 lines of {root}/list.txt name a video again, such as run/a: ")
    assert open_dataset(root, listing(root, *NAMES)).notes == []


def test_an_unknown_way_to_treat_missing_videos_is_refused(vp9_store):
    with pytest.raises(ValueError, match=r"^missing = 'ignore' must be error or skip$"):
        open_dataset(vp9_store.root, missing="ignore")  # type: ignore[arg-type]


def test_what_is_no_path_is_refused_by_name(vp9_store):
    """None, as of an unset variable, was taken for a damaged index."""
    with pytest.raises(ValueError, match=r"^root = None must be a folder or a URL$"):
        open_dataset(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^list_file = \['run/a'\] must be the path of a list$"):
        open_dataset(vp9_store.root, ["run/a"])  # type: ignore[arg-type]
