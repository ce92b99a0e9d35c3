"""The prepare command, as several tests call it."""

import subprocess
import sys

from dali_pipelines.prepare import main

SMALL = ["--short-side", "32", "--workers", "1"]


def prepare(*arguments):
    return main([str(argument) for argument in arguments])


def names(index):
    return [index.info(i).name for i in range(len(index))]


def stored(out):
    """Return path -> modification time (ns) of each stored video."""
    return {str(p.relative_to(out / "videos")): p.stat().st_mtime_ns for p in (out / "videos").rglob("*.*")}


def start(source, out, workers=1, *options, new_session=False):
    command = [sys.executable, "-m", "clipfeed", "prepare", source, "--out", out, "--workers", workers, *options]
    return subprocess.Popen(
        [*map(str, command), "--short-side", "32"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=new_session,
    )
