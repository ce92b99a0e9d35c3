"""What our loader is meant to reach, and whether it does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.contenders import EQUAL_JPEGS, OURS, SOURCES, ratio_to

LEADS = {"torchcodec_prepared": 3.0, "jpeg_zip": 2.5, EQUAL_JPEGS: 1.5}
"""Over a peer, from the first store: torchcodec on the same files, the sources as JPEGs, JPEGs like the store."""
LEADS_OF_RAW_VIDEO = {EQUAL_JPEGS: 2.0}
SHARE = 0.85
"""Of decoding and cutting alone. A loader that reaches it has met every lead, as more is hardly possible."""


@dataclass(frozen=True)
class Target:
    """One target of one task: a lead over `peer` with a `store`, what was measured, and our share of the ceiling."""

    task: str
    store: str
    peer: str
    least: float
    lead: float
    share: float

    @property
    def met(self) -> bool:
        """Tell whether the lead is reached, or the share of the ceiling that stands in for it."""
        return self.lead >= self.least or (self.share >= SHARE and self.store != "rawvideo")


def targets(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[Target]:
    """Yield the targets of each task whose peers were measured."""
    for task, figures in tasks.items():
        groups = [group for group in figures["contenders"] if group != SOURCES]
        for group in groups:
            ours = figures["contenders"][group][OURS]
            leads = LEADS_OF_RAW_VIDEO if group == "rawvideo" else LEADS if group == groups[0] else {}
            for peer, least in leads.items():
                lead, share = ratio_to(ours, peer), ratio_to(ours, "decode_and_cut")
                if lead is not None and share is not None:
                    yield Target(task, group, peer, least, lead, share)
