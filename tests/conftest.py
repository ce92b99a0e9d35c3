"""Report at the end of a run which tests were left out.

The xdist controller imports nothing else, because torch would take 4 s.
"""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("numprocesses", None) or config.option.collectonly:
        gc.disable()  # imports leave no garbage, and looking for it would take a fifth of their time
        config.pluginmanager.import_plugin("tests.helpers.fixtures")


LEFT_OUT = pytest.StashKey[set[str]]()
"""Slow tests that `-m "not slow"` deselects; under xdist only the workers see them."""


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.config.stash.setdefault(LEFT_OUT, set()).add(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = sorted(session.config.stash.get(LEFT_OUT, ()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash.setdefault(LEFT_OUT, set()).update(getattr(node, "workeroutput", {}).get("left_out", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := sorted(config.stash.get(LEFT_OUT, ())):
        files = dict.fromkeys(Path(name.split("::")[0]).stem.removeprefix("test_") for name in left_out)
        terminalreporter.write_line(f"slow and left out, {len(left_out)} in all, of: {', '.join(files)}")
    missed = [report for report in terminalreporter.stats.get("skipped", []) if "gpu" in report.keywords]
    names = dict.fromkeys(report.nodeid.split("[")[0].split("::")[-1] for report in missed)
    if missed:
        terminalreporter.write_line(f"not run without a GPU and -m gpu, {len(missed)} in all: {', '.join(names)}")
