"""Measure alternating rounds of our loader on each store, its ceilings and its peers."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any

from bench.loader.contenders import OURS, SOURCES, Contender, all_figures
from bench.loader.ours import our_contenders
from bench.peers.contenders import names_in, peer_contenders
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task


def measure_task(
    stores: Mapping[str, Index],
    task: Task,
    settings: dict[str, Any],
    *,
    batches: int,
    rounds: int,
    peers: Collection[str] = (),
) -> dict[str, Any]:
    """Return the figures of one task, from `rounds` rounds of `batches` batches of each contender.

    Args:
        stores: the same videos, stored in several ways.
        peers: names of peers; measured if they can make the task's views.

    Returns:
        `contenders`: store or SOURCES -> name -> figures. `missing`: likewise, why a peer was not measured.
    """
    loaders: dict[str, ClipLoader] = {}
    contenders: list[Contender] = []
    missing: dict[str, dict[str, str]] = {}
    with ExitStack() as stack:
        for group, index in stores.items():
            loaders[group], ours = our_contenders(
                index, task, settings, group=group, stack=stack, augment=not contenders
            )
            contenders += ours
        first = next(iter(loaders.values()))
        if peers and not task.program.dali_alone:  # else its views share frames: a peer takes one view each
            for group, loader in {SOURCES: first, **loaders}.items():
                names = names_in(group, peers, first=loader is first)
                found, missing[group] = peer_contenders(loader, group=group, names=names)
                contenders += found
        for _ in range(rounds):
            start = first.step  # where in the schedule all begin to read
            for one in contenders:
                one.rounds.append(one.run(start, batches))
        for one in contenders:
            if one.name == OURS:
                one.facts["amplification"] = round(loaders[one.group].counts.amplification, 2)
    return {"contenders": all_figures(contenders, settings["batch_size"]), "missing": missing}
