"""Untrusted file names are shown safely on a terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import first_names, shown
from dali_pipelines.datasets.fates import summary

RAW = "a\x1b[2Jb\nerror: c\r\x9b1m\u202etxt\udcff"
ESCAPED = r"a\x1b[2Jb\nerror: c\r\x9b1m\u202etxt\udcff"


@pytest.mark.parametrize("text", ["run/b 1.5", "café ünï", "動画\u3000一", "a\xa0b", "back\\slash"])
def test_printable_text_stays_unchanged(text):
    assert shown(text) == text


def test_control_characters_are_escaped():
    assert shown(RAW) == ESCAPED


def test_lists_of_names_are_escaped():
    assert first_names([RAW, "b"]) == f"{ESCAPED}, b"
    assert first_names([*"abcde", RAW], 5) == "a, b, c, d, e and 1 more"
    assert summary("quarantined", {RAW: "r"}, Path("q.csv")) == [f"1 video quarantined (reasons in q.csv): {ESCAPED}"]


def test_errors_are_escaped_except_their_own_line_breaks():
    code = f"from configs.errors import *\ndef main(argv): raise UserError('one\\ntwo ' + {RAW[:6]!r})\nrun_cli(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"error: one\ntwo {ESCAPED[:9]}\n")
