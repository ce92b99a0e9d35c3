"""What our loader is meant to reach, and whether it does."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.loader.contenders import EQUAL_JPEGS, OURS, SOURCES, ratio_to

LEADS = {"torchcodec_prepared": 3.0, "jpeg_zip": 2.5, EQUAL_JPEGS: 1.5}
"""Over a peer, from the first store: torchcodec on the same files, the sources as JPEGs, JPEGs like the store."""
LEADS_OF_RAW_VIDEO = {EQUAL_JPEGS: 2.0}
SHARE = 0.85
"""Of decoding and cutting alone. A loader that reaches it has met every lead, as more is hardly possible."""


HEAD = ("task", "store", "lead over", "target", "measured", "of decode and cut", "met")


def target_rows(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    """Yield a row below HEAD for each target of each task whose peers were measured."""
    for task, figures in tasks.items():
        groups = [group for group in figures["contenders"] if group != SOURCES]
        for group in groups:
            ours = figures["contenders"][group][OURS]
            leads = LEADS_OF_RAW_VIDEO if group == "rawvideo" else LEADS if group == groups[0] else {}
            for peer, least in leads.items():
                lead, share = ratio_to(ours, peer), ratio_to(ours, "decode_and_cut")
                if lead is not None and share is not None:
                    met = lead >= least or (share >= SHARE and group != "rawvideo")
                    yield f"`{task}`", group, peer, least, f"{lead:.2f}", f"{share:.2f}", "yes" if met else "**no**"
