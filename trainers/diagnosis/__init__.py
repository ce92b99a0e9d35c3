"""The checks of `clipfeed doctor`, one subject per file.

Each file has `check(subject)`, which yields findings. It is imported just before it runs: its dependencies may be
missing, which the doctor then reports. So this file imports nothing heavy.
"""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        about: what was checked, in a word or two.
        text: what was found.
        do: what to do about it; "" for nothing.
    """

    state: State
    about: str
    text: str
    do: str = ""


@dataclass(frozen=True)
class Subject:
    """What to check.

    Attributes:
        device: auto, cpu or cuda, as for the trainers.
        config: the `Config` of a recipe; None without one, or if it cannot be loaded.
        data_dir: the dataset, a folder or a URL, if any.
    """

    device: str
    config: Any = None
    data_dir: str | None = None
