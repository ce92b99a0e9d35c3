"""Contenders to compare: our loader on each store, its ceilings, and other loaders."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.meters import Round, memory, quartiles, times_ms

OURS = "this_loader"
EQUAL_JPEGS = "jpeg_zip_prepared"
"""JPEGs of the same quality as the first store; all stores are compared with them."""
SOURCES = "sources"
"""Group of the peers that read the sources; all other groups are stores."""


@dataclass
class Contender:
    """Something that delivers the clips of a task.

    Attributes:
        group: the store that it reads, or SOURCES.
        name: OURS, a ceiling or a peer.
        run: `run(step, batches)` measures a round of `batches` batches of the schedule, from about `step` on.
        facts: other figures besides its rates.
        rounds: the rounds measured so far.
    """

    group: str
    name: str
    run: Callable[[int, int], Round]
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)

    def figures(self, batch_size: int) -> dict[str, Any]:
        """Return its rates, times, CPU time, memory and facts."""
        rates = [batch_size * one.rate for one in self.rounds]
        clips = batch_size * sum(len(one.seconds) for one in self.rounds)
        result: dict[str, Any] = {
            "clips_per_s": round(statistics.median(rates), 1),
            "clips_per_s_quartiles": quartiles(rates),
            **times_ms(self.rounds),
            "cpu_s_per_1000_clips": round(1000 * sum(one.cpu_s for one in self.rounds) / clips, 1),
        }
        return result | memory(self.rounds) | self.facts

    def ratio(self, other: "Contender") -> dict[str, Any]:
        """Return its rate / that of another contender: median and quartiles of the rounds' ratios."""
        ratios = [mine.rate / theirs.rate for mine, theirs in zip(self.rounds, other.rounds, strict=True)]
        return {"median": round(statistics.median(ratios), 3), "quartiles": quartiles(ratios, 3)}


def all_figures(contenders: Sequence[Contender], batch_size: int) -> dict[str, dict[str, Any]]:
    """Return group -> name -> figures; those of our loader include its `ratios` to others.

    The others are those that read the same store or the sources, and EQUAL_JPEGS.
    """
    result: dict[str, dict[str, Any]] = {contender.group: {} for contender in contenders}
    for one in contenders:
        result[one.group][one.name] = one.figures(batch_size)
    for ours in (one for one in contenders if one.name == OURS):
        near = (one for one in contenders if one.group in (SOURCES, ours.group) or one.name == EQUAL_JPEGS)
        ratios = {one.name: ours.ratio(one) for one in near if one is not ours}
        result[ours.group][OURS]["ratios"] = ratios
    return result
