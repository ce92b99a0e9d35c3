"""The checks of `clipfeed doctor`, one subject per file.

Each file has `check(subject)`, which yields findings. It is imported just before it runs: its dependencies may be
missing, which the doctor then reports. So this file imports nothing heavy.
"""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was checked, in a word or two, what was found, and what to do, "" for nothing."""

    state: State
    about: str
    text: str
    do: str = ""


@dataclass(frozen=True)
class Subject:
    """What to check."""

    device: str
    """auto, cpu or cuda, as for the trainers."""
    config: Any = None
    """The `Config` of a recipe; None without one, or if it cannot be loaded."""
    data_dir: str | None = None
    """The dataset, a folder or a URL, if any."""
