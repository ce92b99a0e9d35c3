"""Videos that a loader could not read: names, reasons, stand-ins, and the limit on replacements."""

import logging
from collections.abc import Mapping

from configs.errors import UserError, shown
from configs.words import counted
from dali_pipelines.datasets.fates import NAMED
from dali_pipelines.store.index import Index

log = logging.getLogger(__name__)

MARGIN = 3
"""Standard deviations above the allowed share that count as chance, not as a broken dataset."""


class Unreadable:
    """Videos found unreadable so far.

    If it `replaces` them by others, as in training, `most` is the largest share of samples for which it may.
    """

    def __init__(self, index: Index, *, replaces: bool, most: float) -> None:
        self.index, self.replaces, self.most = index, replaces, most
        self.rows: frozenset[int] = frozenset()
        self.reasons: dict[str, str] = {}
        """Name -> reason."""
        self.replaced_by: dict[str, str] = {}
        """Name -> latest stand-in."""

    def add(self, row: int, reason: str) -> None:
        """Mark a video as unreadable from now on, and log it."""
        name = self.index.names.text(row)
        self.rows |= {row}
        self.reasons[name] = reason
        happens = " and replaced by others from now on" if self.replaces else ""
        log.warning("%s is unreadable%s: %s", shown(name), happens, shown(reason))

    def remember(self, reasons: Mapping[str, str]) -> None:
        """Restore earlier findings, name -> reason; names that are not in the dataset are ignored."""
        if reasons:
            rows = {name: row for row, name in enumerate(self.index.names.texts()) if name in reasons}
            self.rows |= frozenset(rows.values())
            self.reasons |= {name: reasons[name] for name in rows}

    def require_few(self, *, replaced: int, samples: int) -> None:
        """Raise UserError, naming the videos, if more samples were replaced than allowed."""
        expected = self.most * samples
        if not self.replaces or replaced <= expected + MARGIN * max(expected, 1) ** 0.5:
            return
        reasons = [f"  {shown(name)}: {shown(reason)}" for name, reason in self.reasons.items()]
        more = [f"  and {len(reasons) - NAMED} more"] * (len(reasons) > NAMED)
        raise UserError(
            f"{self.index.root}: {replaced} of {counted(samples, 'sample')} had to be replaced because of unreadable "
            f"videos; data.most_unreadable = {self.most} allows fewer. Run `clipfeed prepare` on the sources again. "
            "Unreadable:\n" + "\n".join([*reasons[:NAMED], *more])
        )
