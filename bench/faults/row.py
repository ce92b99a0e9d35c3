"""One line of bench/results/faults.json: a fault and its outcome."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.report import markdown
from dali_pipelines.store.files import write_file

HEAD = ("fault", "injected", "survived", "lost or repeated", "bits equal")


@dataclass(frozen=True)
class Row:
    """The outcome of one kind of fault."""

    fault: str
    """In words; a later measurement of the same fault replaces this one."""
    injected: int
    survived: int
    """The number of faults after which the work continued, or ended as documented."""
    lost_or_repeated: int
    """Samples, steps, frames or files: `details` says which."""
    bits_equal: bool
    """Whether the results equal those without faults."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.survived == self.injected and not self.lost_or_repeated and self.bits_equal

    def table(self) -> str:
        """Return the row as a Markdown table."""
        numbers = (f"{number:,}" for number in (self.injected, self.survived, self.lost_or_repeated))
        return "\n".join(markdown(HEAD, [(self.fault, *numbers, "yes" if self.bits_equal else "NO")]))


def save(path: Path, row: Row, *, command: str) -> None:
    """Write a row with its command and machine; keep the file's rows of other faults."""
    rows = json.loads(path.read_text())["faults"] if path.exists() else {}
    rows[row.fault] = {**asdict(row), "command": command, "machine": machine()}
    lines = ",\n".join(f"{json.dumps(fault)}: {json.dumps(of)}" for fault, of in rows.items())
    write_file(path, f'{{"faults": {{\n{lines}\n}}}}\n')
