"""Tab completion in a real bash."""

import shutil
import subprocess
import sys

import pytest
import shtab

from configs import completion
from configs.command import COMMANDS
from configs.recipes import names
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

TRY = """
source completion.bash
COMP_WORDS=({words} {last!r}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_shtab_clipfeed clipfeed {last!r} "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a recipe, the completion script and an executable `clipfeed`."""
    folder = tmp_path_factory.mktemp("shell")
    script = shtab.complete(completion.whole(), "bash")
    (folder / "completion.bash").write_text(script)
    (folder / "ctp_mine.yaml").touch()
    command = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m clipfeed "$@"\n'
    (folder / "clipfeed").write_text(command)
    (folder / "clipfeed").chmod(0o755)
    return folder


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "last", "expected"),
    [
        ("clipfeed", "pre", {"prepare", "preview", "pretrain"}),
        ("clipfeed pretrain", "--wo", {"--work-dir"}),
        ("clipfeed test --protocol", "", {"video", "retrieval", "linear", "knn", "attentive"}),
        ("clipfeed recipe", "vcop/", {name for name in names() if name.startswith("vcop/")}),
        (
            "clipfeed pretrain --config",
            "ctp",
            {name for name in names() if name.startswith("ctp/")} | {"ctp_mine.yaml"},
        ),
    ],
)
def test_bash_completes_commands_options_and_recipes(folder, words, last, expected):
    done = subprocess.run(
        ["bash", "-c", f"PATH={folder}:$PATH" + TRY.format(words=words, last=last)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_has_all_commands(capsys, shell):
    completion.main([shell])
    script = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in script] == []
    assert completion.NAMES in script
