"""Parts of a dataset: which task does which part, how tasks agree, and what is missing."""

import itertools
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from dali_pipelines.prepare.parts import Part, all_parts, choose_part, missing, pin, ranges

SETTINGS = {"codec": "h264", "gop": 1, "size": (64, 48)}


def slurm(task, array):
    """Return the environment of task `task` of `sbatch --array`, whose task numbers are `array`."""
    words = {"ID": task, "COUNT": len(array), "MIN": min(array), "MAX": max(array)}
    return {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in words.items()}


@given(st.lists(st.text(min_size=1), unique=True, max_size=8), st.integers(1, 9))
def test_each_video_belongs_to_one_part(names, count):
    parts = [Part(number, count) for number in range(count)]
    assert all(sum(part.takes(name) for part in parts) == 1 for name in names)


def test_the_part_of_a_name_follows_from_its_sha256():
    digest = "c1a7a856f719006b19bca9e731018a200f473d0322bf0942729a314192aa4ff6"  # printf 'run/a' | sha256sum
    assert [number for number in range(7) if Part(number, 7).takes("run/a")] == [int(digest, 16) % 7]


def test_parts_have_similar_sizes():
    names = [f"v{i}" for i in range(8000)]
    sizes = [sum(Part(number, 8).takes(name) for name in names) for number in range(8)]
    assert all(900 < size < 1100 for size in sizes)  # 1000, with a standard deviation of 30


def test_the_shard_option_takes_precedence_over_the_slurm_array(tmp_path):
    assert choose_part("3/8", tmp_path, slurm(1, range(4))) == Part(3, 8)
    assert choose_part(None, tmp_path, slurm(1, range(4))) == Part(1, 4)
    assert choose_part(None, tmp_path, {}) is None


def test_a_single_part_is_no_part(tmp_path):
    assert choose_part("0/1", tmp_path, slurm(1, range(4))) is None
    assert choose_part(None, tmp_path, slurm(5, [5])) is None


@pytest.mark.parametrize("option", ["8/8", "1", "a/b", "-1/8", "1/0", "0/0", "1/8/2", "", f"1/{'9' * 5000}"])
def test_invalid_parts_are_refused(tmp_path, option):
    with pytest.raises(UserError, match=r"must be I/N with I from 0 to N-1, as 0/8 to 7/8"):
        choose_part(option, tmp_path, {})


def test_a_task_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^environment variable SLURM_ARRAY_TASK_ID: '' is no whole number"):
        choose_part(None, tmp_path, slurm("", [0]))


def test_an_array_may_start_anywhere_and_rerun_only_missing_tasks(tmp_path):
    chosen = (choose_part(None, tmp_path, slurm(task, range(10, 15))) for task in range(10, 15))
    first = [part for part in chosen if part]
    assert [part.number for part in first] == [0, 1, 2, 3, 4]
    pin(tmp_path, first[2], SETTINGS)
    for part in (first[0], first[2]):
        part.folder(tmp_path).mkdir()
        part.end(tmp_path, {"a": 0}, ["x"], stored=1)
    assert missing(tmp_path) == "11,13-14"
    again = [choose_part(None, tmp_path, slurm(task, [11, 13, 14])) for task in (11, 13, 14)]
    assert again == [first[1], first[3], first[4]]


def test_a_first_array_with_gaps_is_refused(tmp_path):
    with pytest.raises(UserError, match="the numbers of the Slurm array have gaps: give --shard I/N"):
        choose_part(None, tmp_path, slurm(10, range(0, 100, 10)))


@pytest.mark.parametrize(("task", "array"), [(3, range(8)), (5, [3, 5]), (0, [0])])
def test_an_array_that_does_not_match_the_dataset_is_refused(tmp_path, task, array):
    pin(tmp_path, Part(0, 4, first=1), SETTINGS)
    with pytest.raises(UserError, match=r"is prepared in 4 parts, by --array=1-4"):
        choose_part(None, tmp_path, slurm(task, array))


def test_another_number_of_parts_is_refused(tmp_path):
    pin(tmp_path, Part(0, 4), SETTINGS)
    with pytest.raises(UserError, match="is prepared in 4 parts, not 5: give --shard I/4"):
        choose_part("0/5", tmp_path, {})
    with pytest.raises(UserError, match="is prepared in 4 parts, not 1: give --shard I/4"):
        choose_part("0/1", tmp_path, {})
    with pytest.raises(UserError, match="is prepared in 4 parts: give --shard I/4, or --merge"):
        choose_part(None, tmp_path, {})


def test_parts_of_a_dataset_prepared_without_are_refused(tmp_path):
    (tmp_path / "prepare.jsonl").touch()
    with pytest.raises(UserError, match="was not prepared in parts: leave --shard out"):
        choose_part("0/4", tmp_path, {})


def test_of_simultaneous_tasks_one_pins_the_settings(tmp_path):
    def begin(number):
        try:
            pin(tmp_path / "out", Part(0, number % 4 + 2), SETTINGS)
        except UserError as error:
            found = re.search(r"prepared with (\d+) parts", str(error))
            assert found
            return int(found[1]), False
        return number % 4 + 2, True

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(begin, range(64)))
    pinned = json.loads((tmp_path / "out" / "parts" / "run.json").read_text())["parts"]
    assert {count for count, _ in results} == {pinned}
    assert sum(accepted for _, accepted in results) == 16
    assert os.listdir(tmp_path / "out") == ["parts"]


def test_a_task_that_loses_the_race_follows_the_pinned_settings(tmp_path, monkeypatch):
    rename = os.rename

    def rename_second(*paths):
        monkeypatch.setattr(os, "rename", rename)
        pin(tmp_path, Part(0, 5), SETTINGS)
        rename(*paths)

    monkeypatch.setattr(os, "rename", rename_second)
    with pytest.raises(UserError, match=r"is prepared with 5 parts and .*, not 4 parts and "):
        pin(tmp_path, Part(0, 4), SETTINGS)
    assert json.loads((tmp_path / "parts" / "run.json").read_text())["parts"] == 5
    assert os.listdir(tmp_path) == ["parts"]


def test_other_settings_than_the_pinned_ones_are_refused(tmp_path):
    pin(tmp_path, Part(0, 4), SETTINGS)
    pin(tmp_path, Part(1, 4), SETTINGS)
    with pytest.raises(UserError, match=r"with 4 parts and codec=h264 gop=1 .*, not 4 parts and codec=vp9 gop=1 "):
        pin(tmp_path, Part(1, 4), SETTINGS | {"codec": "vp9"})


def test_an_unwritable_folder_is_named():
    with pytest.raises(UserError, match="cannot write the dataset to /proc/nothing: "):
        pin(Path("/proc/nothing"), Part(0, 4), SETTINGS)


@given(st.sets(st.integers(0, 40)))
def test_ranges_are_minimal_and_complete(numbers):
    text = ranges(sorted(numbers))
    spans = [[int(n) for n in span.split("-")] for span in text.split(",")] if text else []
    assert [n for span in spans for n in range(span[0], span[-1] + 1)] == sorted(numbers)
    assert all(a[-1] + 1 < b[0] for a, b in itertools.pairwise(spans))


def test_ranges_have_sbatchs_format():
    assert ranges([1, 2, 5, 6, 7, 8, 9, 10, 99]) == "1-2,5-10,99"


def test_a_dataset_without_parts_has_none_to_list(tmp_path):
    with pytest.raises(UserError, match=r"is not prepared in parts: there is no .*parts/run.json"):
        all_parts(tmp_path)
