"""Numbers among the options of all commands and benches: each has a range, which its error names."""

import re

import pytest

from bench import gpu_report, loader_throughput, prepare_throughput, storage, training_throughput
from bench.faults import __main__ as faults
from bench.learning import real_job, real_motion
from configs.convert import LARGEST
from configs.options import number, whole_number
from dali_pipelines import demo_data, prepare, preview
from tests.helpers.runs import ROOT
from tests.test_architecture import PACKAGES


def test_numbers_are_read_up_to_both_ends_of_their_range():
    assert [whole_number(0, 9)("0"), whole_number(0, 9)("9")] == [0, 9]
    assert [number(1e-3)("1e-3"), number(1e-3)(str(LARGEST))] == [1e-3, LARGEST]


@pytest.mark.parametrize(
    ("main", "options"),
    [
        (prepare.main, "--workers=0 --workers=1025 --gop=0 --short-side=0 --crf=-1 --gop=1.5"),
        (preview.main, "--samples=0 --frames=-1"),
        (demo_data.main, f"--train=7 --test=0 --seed=-1 --seed={2**63} --workers=0 --workers=1025"),
        (faults.main, "--scale=0 --scale=nan --scale=inf --scale=-1"),
        (gpu_report.main, "--minutes=nan --minutes=inf --minutes=-1 --minutes=soon"),
        (loader_throughput.main, "--batches=0 --workers=-1 --threads=0 --processes=0 --epochs=0"),
        (prepare_throughput.main, "--workers=0 --rounds=0"),
        (storage.main, "--disk-factor=0.5 --disk-factor=nan --gops=0 --short-sides=0 --workers=-1 --threads=0"),
        (training_throughput.main, "--steps=0 --rounds=0"),
        (real_motion.main, "--seeds=-1 --frames=0 --epochs=0"),
        (real_job.main, "--seed=-1 --frames=0 --epochs=0 --core=-1"),
    ],
)
def test_a_number_out_of_range_is_refused_in_one_line_that_names_it(main, options, capsys):
    """They ended in tracebacks minutes later, started thousands of processes, or measured nothing."""
    for option in options.split():
        for word in {option, f"{option.partition('=')[0]}={'9' * 20}", f"{option.partition('=')[0]}={'9' * 5000}"}:
            name, _, value = word.partition("=")
            with pytest.raises(SystemExit, match=r"^2$"):
                main([word, "--nothing"])  # which stops a command whose number has no range
            last = capsys.readouterr().err.splitlines()[-1]
            assert re.search(rf"error: argument {name}: '{value}' is no (whole )?number from [\d.]+ to \d+$", last)


def test_no_option_takes_numbers_without_a_range():
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    options = [(path.name, option) for path in files for option in re.findall(r"\btype=(\w+)", path.read_text())]
    assert {"whole_number", "number", "Path"} <= {option for _, option in options}
    assert [found for found in options if found[1] in ("int", "float")] == []
