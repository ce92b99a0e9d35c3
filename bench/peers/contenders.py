"""Select other loaders as contenders: those that run here and make our views, each with its best number of workers."""

import importlib
import math
from collections.abc import Collection
from time import perf_counter

from bench.loader.contenders import EQUAL_JPEGS, SOURCES, Contender
from bench.meters import Round, measure
from bench.peers import check
from bench.peers.check import MAX_DIFFERENCE, difference, our_views, peer_views
from bench.peers.cost import read_kib
from bench.peers.data import peer_clips
from bench.peers.loaders import PEERS, Peer, peer_batches
from bench.peers.loaders import jpeg_zip as from_jpegs
from dali_pipelines import limits
from dali_pipelines.loader import ClipLoader

ROUND_S = 1.5  # seconds of a round of a slow peer, which is measured with fewer batches
BURSTS = 3  # minimum number of batches from each worker
CLOSE = 0.75  # share of the rate with workers above which no workers may be as fast
EPOCHS = 3  # epochs whose clips' bytes are counted


def peer_contenders(
    loader: ClipLoader, *, group: str, names: Collection[str]
) -> tuple[list[Contender], dict[str, str]]:
    """Return the peers that run and make the views of `loader`, and for the others: name -> reason."""
    made, missing, ours = [], {}, our_views(loader) if names else []
    for name in names:
        peer = PEERS[name]
        try:
            importlib.import_module(peer.module)
            began = perf_counter()
            views = peer_views(peer, loader)
            alone = check.CHECKED / (perf_counter() - began)
            if (differs := round(difference(ours, views), 2)) > MAX_DIFFERENCE:
                raise ValueError(f"its views differ from ours by {differs:.1f} gray levels on average")
            contender = _contender(name, loader, alone=alone, group=group)
        except Exception as error:  # foreign packages may raise anything; show it as the reason
            reason = str(error).strip().partition("\n")[0]
            missing[name] = f"{type(error).__name__}: {reason}"
            continue
        contender.facts |= {"difference_to_ours": differs, "most_difference": MAX_DIFFERENCE}
        made.append(contender)
    return made, missing


def names_in(group: str, names: Collection[str], *, first: bool) -> list[str]:
    """Return the peers that read a group's files; EQUAL_JPEGS belong to the first store."""
    chosen = [name for name in names if PEERS[name].prepared == (group != SOURCES)]
    return [name for name in chosen if first or name != EQUAL_JPEGS]


def _contender(name: str, loader: ClipLoader, *, alone: float, group: str) -> Contender:
    """Return a peer with one worker per core, or none if that is faster.

    alone: its approximate clips/s without workers.
    """
    peer, cores, size = PEERS[name], limits.cores(), loader.order.batch_size

    def rate(workers: int, about: float) -> float:
        return round(size * run_peer(peer, loader, 0, batches_for(about / size, workers), workers=workers).rate, 1)

    tried = {0: round(alone, 1), cores: rate(cores, cores * alone)}
    if alone > CLOSE * tried[cores]:
        tried[0] = rate(0, alone)
    workers = max(tried, key=tried.__getitem__)
    per_s = tried[workers] / size

    def run(step: int, batches: int) -> Round:
        return run_peer(peer, loader, step, batches_for(per_s, workers, most=batches), workers=workers)

    clips = peer_clips(loader, 0, EPOCHS * len(loader), prepared=peer.prepared)
    facts = {
        "read_kib_per_clip": read_kib(clips, jpegs=peer.views is from_jpegs),
        "workers": workers,
        "tried_workers": tried,
    }
    return Contender(group, name, run, facts)


def batches_for(per_s: float, workers: int, *, most: float = math.inf) -> int:
    """Return the number of batches to time for a loader that makes about `per_s` of them per second.

    A part of a burst would count as less than it is: its other batches have been made by then. So there are only whole
    ones, and at least BURSTS of them, even if those are more than `most` batches.
    """
    burst = max(workers, 1)
    return burst * max(BURSTS, int(min(ROUND_S * per_s, most) // burst))


def run_peer(peer: Peer, loader: ClipLoader, step: int, count: int, *, workers: int) -> Round:
    """Measure a round of one peer: `count` batches of the loader's clips from `step` on.

    Workers deliver in bursts of one batch each; the first burst is not timed.
    """
    device = "cpu" if loader.device_id is None else f"cuda:{loader.device_id}"
    burst = max(workers, 1)
    # More than are taken, so no worker is idle while the clock runs.
    clips = peer_clips(loader, step, count + 3 * burst, prepared=peer.prepared)
    with peer_batches(peer, clips, batch_size=loader.order.batch_size, workers=workers, device=device) as arriving:
        return measure(arriving, count, device=device, untimed=burst)
