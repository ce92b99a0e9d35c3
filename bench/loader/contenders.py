"""What is measured side by side: our loader on each store, its ceilings, and other loaders."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.meters import Round, memory, quartiles, times_ms

OURS = "this_loader"
EQUAL_JPEGS = "jpeg_zip_prepared"
"""JPEGs that are as good as the first store; all stores are compared with them."""
SOURCES = "sources"
"""The group of the peers that read the sources; all other groups are stores."""


@dataclass
class Contender:
    """Something that delivers the clips of a task.

    Attributes:
        group: the store that it reads, or SOURCES.
        name: OURS, a ceiling or a peer.
        run: measures a round of `batches` batches of the schedule, from about `step` on: `run(step, batches)`.
        facts: what is known of it beside its rates.
        rounds: those that were measured.
    """

    group: str
    name: str
    run: Callable[[int, int], Round]
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)

    def figures(self, batch_size: int) -> dict[str, Any]:
        """Return its rates, times, CPU time and memory, and what else is known of it."""
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
        """Return its rate / that of another one: the median of the rounds' own ratios, and their quartiles."""
        ratios = [mine.rate / theirs.rate for mine, theirs in zip(self.rounds, other.rounds, strict=True)]
        return {"median": round(statistics.median(ratios), 3), "quartiles": quartiles(ratios, 3)}


def alternate(contenders: Sequence[Contender], *, rounds: int, batches: int, step: Callable[[], int]) -> None:
    """Measure all in turn, `rounds` times.

    Args:
        step: asked at the beginning of each round: from where on all read the schedule.
    """
    for _ in range(rounds):
        start = step()
        for contender in contenders:
            contender.rounds.append(contender.run(start, batches))


def all_figures(contenders: Sequence[Contender], batch_size: int) -> dict[str, dict[str, Any]]:
    """Return group -> name -> figures; those of our loader with its `ratios` to all that it is compared with.

    It is compared with what reads the same store or the sources, and with EQUAL_JPEGS.
    """
    result: dict[str, dict[str, Any]] = {contender.group: {} for contender in contenders}
    for one in contenders:
        result[one.group][one.name] = one.figures(batch_size)
    for ours in (one for one in contenders if one.name == OURS):
        near = (one for one in contenders if one.group in (SOURCES, ours.group) or one.name == EQUAL_JPEGS)
        ratios = {one.name: ours.ratio(one) for one in near if one is not ours}
        result[ours.group][OURS]["ratios"] = ratios
    return result


def ratio_to(figures: Mapping[str, Any], name: str) -> float | None:
    """Return the median ratio of our figures to another contender of a task, None where that was not measured."""
    found = figures["ratios"].get(name)
    return None if found is None else float(found["median"])
