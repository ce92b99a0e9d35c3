"""Lists that name videos of the quarantine: every command leaves these off and says so. Others that lack are errors."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.listed import left_off, open_listed
from dali_pipelines.store.index import Index
from tests.dali_pipelines.store.test_index import record
from tests.helpers.runs import write_recipe
from tests.trainers.test_finetune import labeled
from tests.trainers.test_finetune import train as finetune
from trainers import pretrain, probe
from trainers import test as testing

NAMES = ("run/a", "run/b", "walk/c d", "walk/e.f")


def quarantine(root: Path, *paths: str) -> None:
    with (root / "quarantine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "reason"), *((path, "truncated, alas") for path in paths)])


@pytest.fixture
def root(tmp_path) -> Path:
    Index.build(tmp_path, dict.fromkeys(NAMES, record())).save()
    return tmp_path


def listing(root: Path, *lines: str) -> Path:
    (root / "list.txt").write_text("\n".join(lines))
    return root / "list.txt"


@pytest.mark.parametrize(
    "line", ["run/lost.avi 2", "run/lost.avi", "run/lost", "run/lost 2", "lost.avi", "UCF/run/lost.avi"]
)
def test_a_video_in_the_quarantine_is_left_off_and_the_others_stay_in_order(root, line):
    quarantine(root, "/films/UCF/run/lost.avi")
    found = open_listed(root, listing(root, "walk/e.f.avi 1", "", line, "run/a.avi 2", "run/a.avi 2"))
    assert found.index.names.texts() == ("walk/e.f", "run/a", "run/a")
    assert found.lines == ["walk/e.f.avi 1", "run/a.avi 2", "run/a.avi 2"]
    assert [Path(name).stem for name in found.left_off] == ["lost"]
    (note,) = left_off(root, root / "list.txt", None)
    begin = f"1 of 4 videos of {root}/list.txt are left off, as {root}/quarantine.csv says why: "
    assert note == begin + found.left_off[0]


def test_many_are_counted_and_the_first_are_named(root):
    lost = [f"run/x{number:02d}.avi" for number in range(13)]
    quarantine(root, *(f"/films/{name}" for name in lost))
    (note,) = left_off(root, listing(root, *lost, *NAMES))
    assert note.startswith("13 of 17 videos of ")
    assert note.endswith(f"{', '.join(lost[:10])} and 3 more")


def test_a_video_that_is_neither_there_nor_in_the_quarantine_is_an_error_that_names_it_alone(root):
    quarantine(root, "/films/run/lost.avi")
    names = listing(root, "run/lost.avi", "run/a.avi", "run/never.avi 1", "walk/lost.avi")
    with pytest.raises(UserError, match=r"names 2 videos that neither .* holds \(run/never.avi, walk/lost.avi\): prep"):
        open_listed(root, names)


def test_a_video_of_the_dataset_stays_though_another_of_its_name_is_in_the_quarantine(root):
    quarantine(root, "/broken/run/a.avi", "/broken/walk/c d.avi")
    found = open_listed(root, listing(root, "run/a.avi", "walk/c d.avi 1"))
    assert found.index.names.texts() == ("run/a", "walk/c d")
    assert found.left_off == []


def test_lists_of_which_nothing_is_left_and_datasets_without_a_quarantine_are_errors_as_ever(root):
    names = listing(root, "run/lost.avi")
    for _ in range(2):
        with pytest.raises(UserError, match=re.escape(f"names 1 videos that {root} does not hold (run/lost.avi)")):
            open_listed(root, names)
        quarantine(root, "/films/run/lost.avi")
    with pytest.raises(UserError, match=r"cannot read the list of videos .*gone.txt"):
        open_listed(root, root / "gone.txt")
    (root / "list.txt").write_bytes(b"run/a\xff\n")
    with pytest.raises(UserError, match=r"it is not text"):
        open_listed(root, root / "list.txt")
    with pytest.raises(UserError, match=r"index.npz is a file and not the folder of a dataset"):
        open_listed(root / "index.npz", root / "list.txt")
    assert len(open_listed(root, None).index) == 4


@pytest.fixture(scope="module")
def damaged(vp9_store, tmp_path_factory) -> Path:
    """A dataset whose lists, with labels, name two videos of the quarantine: one to train on and one to test on."""
    root = labeled(vp9_store, tmp_path_factory.mktemp("damaged"))
    Index.load(root).select(np.setdiff1d(np.arange(12), [0, 11])).save()
    index = Index.load(root)
    lost = set(vp9_store.names.texts()) - set(index.names.texts())
    assert lost == {"class0/video00", "class1/video11"}
    quarantine(root, *(f"/films/{name}.avi" for name in sorted(lost)))
    return root


@pytest.mark.slow
def test_every_command_trains_and_tests_on_the_others_and_says_so_once(damaged, tmp_path, capsys):
    why = f"are left off, as {damaged}/quarantine.csv says why: "
    train = f"note: 1 of 10 videos of {damaged}/train.txt {why}class0/video00.avi"
    test = f"note: 1 of 2 videos of {damaged}/test.txt {why}class1/video11.avi"

    def said() -> list[str]:
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: 1 of")]

    recipe = write_recipe(tmp_path, damaged)
    pretrain.main(["--config", str(recipe), "--device", "cpu", "--max-steps", "1", "--set", "data.list=train.txt"])
    assert said() == [train]
    run = finetune(tmp_path, damaged, "--mode", "scratch", "--max-steps", 1, name="classes")
    assert said() == [train, test]
    options = ["--checkpoint", str(run), "--device", "cpu", "--clips", "1"]
    testing.main([*options, "--protocol", "video"])
    assert said() == [test]
    result = json.loads((run / "test_video" / "result.json").read_text())
    assert result["videos"] == 1
    assert f"note: {result['notes'][0]}" == test
    testing.main([*options, "--protocol", "retrieval"])
    assert said() == [train, test]
    result = json.loads((run / "test_retrieval" / "retrieval.json").read_text())
    assert [f"note: {note}" for note in result["notes"]] == [train, test]
    lists = ["--train", "train.txt", "--test", "test.txt"]
    probe.main(["--work-dir", str(tmp_path / "run"), *lists, "--device", "cpu", "--clips", "1"])
    assert said() == [train, test]


def test_a_list_whose_labels_are_of_another_dataset_is_still_an_error(damaged, tmp_path):
    store = shutil.copytree(damaged, tmp_path / "store")
    names = [line.split()[0] for line in (store / "train.txt").read_text().splitlines()]
    (store / "train.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)))
    with pytest.raises(UserError, match="tells 9 classes apart"):
        finetune(tmp_path, store, "--mode", "scratch", "--max-steps", 1)
