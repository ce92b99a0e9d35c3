"""bench.faults.ranks: a short version of the committed run, and a check that it sees wrong samples."""

import pytest

from bench.faults.ranks import Run, changing_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # seven processes, and demo videos


@pytest.fixture(scope="module")
def row_and_folder(demo_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return changing_run(demo_set, folder, (1, 2)), folder


def test_changing_the_number_of_ranks_keeps_the_samples(row_and_folder):
    row, _ = row_and_folder
    assert row.injected == 1
    assert row.passed
    assert row.bits_equal
    assert row.details["steps_done_again"] >= 0


def test_wrong_and_missing_samples_are_counted(row_and_folder, demo_set, tmp_path):
    whole, other = (Run(demo_set, tmp_path / name) for name in ("whole", "other"))
    lines = (row_and_folder[1] / "whole" / "samples.txt").read_text().splitlines()
    whole.log.write_text("\n".join(lines))
    first, second = lines[0].split(), lines[1].split()
    other.log.write_text("\n".join([" ".join([*first[:-1], second[-1]]), *lines[1:-1]]))
    assert other.wrong_samples(whole) == 1 + 24
