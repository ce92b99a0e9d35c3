"""Untrusted file names are shown safely on a terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import first_names, shown
from dali_pipelines.datasets.fates import summary

WILD = "a\x1b[2Jb\nerror: c\r\x9b1m\u202etxt\udcff"
TAME = r"a\x1b[2Jb\nerror: c\r\x9b1m\u202etxt\udcff"


@pytest.mark.parametrize("text", ["run/b 1.5", "café ünï", "動画\u3000一", "a\xa0b", "back\\slash"])
def test_letters_of_any_script_stay(text):
    assert shown(text) == text


def test_what_acts_on_a_terminal_is_escaped():
    assert shown(WILD) == TAME


def test_lists_of_names_are_escaped():
    assert first_names([WILD, "b"]) == f"{TAME}, b"
    assert summary("quarantined", {WILD: "r"}, Path("q.csv")) == [f"1 video quarantined (reasons in q.csv): {TAME}"]


def test_an_error_is_escaped_but_for_its_own_lines():
    code = f"from configs.errors import *\ndef main(argv): raise UserError('one\\ntwo ' + {WILD[:6]!r})\nrun_cli(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"error: one\ntwo {TAME[:9]}\n")
