"""How a command answers Ctrl-C, a closed pipe, and errors of the system."""

import errno
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from configs.errors import run_cli, run_command
from tests.helpers.runs import ROOT


@pytest.mark.parametrize("text", ["raise KeyboardInterrupt", "def main(argv):\n    raise KeyboardInterrupt"])
def test_ctrl_c_prints_one_word_and_exits_with_130(tmp_path, monkeypatch, capsys, text):
    """During loading, Ctrl-C used to print a traceback."""
    (tmp_path / "loads_slowly.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "loads_slowly", raising=False)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # keep pytest's handler
    with pytest.raises(SystemExit) as end:
        run_command("loads_slowly")
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_second_ctrl_c_while_the_command_ends_shows_no_traceback():
    script = (
        "import atexit, os, signal, time\nfrom configs.errors import run_cli\n"
        "@atexit.register\ndef end():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(9)\n"
        "def main(argv):\n    raise KeyboardInterrupt\n"
        "run_cli(main)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "interrupted\n")


def test_closed_pipe_ends_the_command_silently_with_sigpipes_status():
    """`clipfeed inspect DIR | head` used to print "error: [Errno 32] Broken pipe"."""
    script = "from configs.errors import run_cli\nrun_cli(lambda argv: [print('x' * 99) for _ in range(9999)] and 0)"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout
        assert command.stderr
        assert command.stdout.readline() == b"x" * 99 + b"\n"
        command.stdout.close()
        assert command.wait() == 141
        assert command.stderr.read() == b""


def test_an_error_of_the_system_names_the_file_without_numbers(refused, tmp_path):
    """It was "[Errno 21] Is a directory: '/a/folder'"."""
    assert refused(lambda argv: (tmp_path / "a\nfolder").read_text()).endswith("a\\nfolder: No such file or directory")
    assert refused(lambda argv: tmp_path.read_text()) == f"error: {tmp_path}: Is a directory"
    assert refused(lambda argv: os.unlink(os.fsencode(tmp_path))) == f"error: {tmp_path}: Is a directory"
    assert refused(lambda argv: os.stat(10**6).st_size) == "error: [Errno 9] Bad file descriptor: 1000000"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error_and_no_file_takes_its_number(closed, tmp_path):
    """`clipfeed COMMAND >&-` ended in a traceback after its work."""
    script = (
        "import os, sys\nfrom configs.errors import run_cli\n"
        "def main(argv):\n"
        "    print('out')\n"
        "    print('err', file=sys.stderr)\n"
        f"    with open({str(tmp_path / 'file')!r}, 'w') as file:\n"
        "        os.system('echo of a child; echo of a child >&2')\n"
        "        file.write(str(file.fileno()))\n"
        "run_cli(main)"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    left = ["out\nof a child\n" * (">&-" not in closed.split()), "err\nof a child\n" * ("2>&-" not in closed.split())]
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, *left)
    assert int((tmp_path / "file").read_text()) > 2


def test_unencodable_name_suggests_utf8_mode(tmp_path):
    """Run Python in locale C without UTF-8 mode."""
    script = f"import os\nfrom configs.errors import run_cli\nrun_cli(lambda argv: os.listdir('{tmp_path}/日'))"
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    ended = subprocess.run([sys.executable, tmp_path / "script.py"], env=locale, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "error: the encoding of this locale, ascii, has no \\u65e5: set PYTHONUTF8=1\n"


@pytest.mark.parametrize(("number", "limit"), [(errno.EMFILE, "ulimit -n"), (errno.ENOMEM, "ulimit -v")])
def test_exhausted_resource_names_the_limit_to_raise(monkeypatch, capsys, number, limit):
    def main(argv: list[str]) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys, "argv", ["clipfeed"])
    with pytest.raises(SystemExit) as end:
        run_cli(main)
    assert end.value.code == 2
    assert f"error: [Errno {number}] {os.strerror(number)}: raise the limit" in (line := capsys.readouterr().err)
    assert limit in line


@pytest.mark.parametrize(
    ("fail", "wanted"),
    [(lambda: bytearray(1 << 62), "out of memory"), (lambda: np.empty(1 << 50), "Unable to allocate 8")],
)
def test_a_lack_of_memory_is_one_line_with_a_way_out(monkeypatch, capsys, fail, wanted):
    """Python and NumPy raise MemoryError, which is no OSError."""
    monkeypatch.setattr(sys, "argv", ["clipfeed"])
    with pytest.raises(SystemExit) as end:
        run_cli(lambda argv: fail())
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"error: {wanted}.*: raise the limit .*, or use fewer workers and smaller batches", line)


@pytest.mark.parametrize(
    ("main", "library"),
    [
        ("import torch", "libtorch_cpu.so"),
        ("raise ImportError('advice\\nlibopenblas.so: failed to map segment from shared object\\n')", "libopenblas.so"),
    ],
)
def test_a_library_that_does_not_fit_into_the_address_space_is_one_line(main, library):
    """The import of torch ended in a traceback; NumPy writes a page of advice around the line of the loader."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
    script = f"{limit}from configs.errors import run_cli\ndef main(argv): {main}\nrun_cli(main)"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {library}: failed to map segment from shared object: raise the limit of the shell")


def test_an_error_of_an_import_in_the_code_shows_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["clipfeed"])
    with pytest.raises(ImportError, match="cannot import name 'no_such_name'"):
        run_cli(lambda argv: exec("from os import no_such_name"))


@pytest.mark.parametrize("options", [[], ["-u"]])
@pytest.mark.parametrize("lines", [1, 10000])  # at the end, and when the buffer is full
def test_an_output_that_cannot_be_written_is_named(monkeypatch, lines, options):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    script = f"from configs.errors import run_cli\nrun_cli(lambda argv: print('line\\n' * {lines}))"
    with open("/dev/full", "w") as full:
        command = [sys.executable, *options, "-c", script]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (
        2,
        "error: cannot print the output: [Errno 28] No space left on device\n",
    )


@pytest.mark.parametrize("argv", [["--help"], ["--version"], [], ["recipes", "--help"]])
def test_help_that_cannot_be_written_is_an_error_without_a_traceback(monkeypatch, argv):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # argparse passes over the error then
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "clipfeed", *argv]
        ended = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (
        2,
        "error: cannot print the output: [Errno 28] No space left on device\n",
    )


def test_a_removed_working_folder_is_named(tmp_path):
    """It used to say "Cannot load libtorch_cpu.so"."""
    (tmp_path / "gone").mkdir()
    script = "import os\nfrom configs.errors import run_cli\nos.rmdir(os.getcwd())\nrun_cli(lambda argv: 0)"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path / "gone",
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (2, "error: the current folder is no longer there: cd to another one\n")


@pytest.mark.parametrize(
    ("argv", "after"),
    [(["a", "", "--out"], " after a"), (["--out", ""], " after --out"), (["--out="], " after --out="), ([""], "")],
)
def test_empty_arguments_are_errors_before_they_mean_the_current_folder(argv, after, monkeypatch, capsys):
    called: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", ["clipfeed", *argv])
    with pytest.raises(SystemExit, match="2"):
        run_cli(called.append)
    assert not called
    assert f"error: an argument is empty{after}; if a shell" in capsys.readouterr().err


def test_a_second_config_is_an_error(monkeypatch, capsys):
    """The first had no effect; in other programs, the second one changes the first."""
    monkeypatch.setattr(sys, "argv", ["clipfeed", "--config=a", "--set", "x=--config", "--config", "b"])
    with pytest.raises(SystemExit, match="2"):
        run_cli(lambda argv: 0)
    assert "error: --config is given twice, and recipes do not add up" in capsys.readouterr().err


def test_arguments_that_end_with_an_equals_sign_are_not_empty(monkeypatch):
    called: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", ["clipfeed", "--set=net.name=", "-", "--"])
    with pytest.raises(SystemExit, match="0"):
        run_cli(called.append)
    assert called == [["--set=net.name=", "-", "--"]]
