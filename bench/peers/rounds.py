"""Our loader and its peers on one task, in one run: which peers there are, that all agree, and how fast each is."""

import importlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from bench.meters import WARM_UP, Round, measure, quartiles
from bench.peers.check import MOST_DIFFERENCE, difference, our_views, peer_views
from bench.peers.data import peer_clips
from bench.peers.loaders import PEERS, peer_batches
from dali_pipelines.loader import ClipLoader

TRIED = 24  # batches that a number of workers is tried with: of 6 in a row the rates differ by 15 %, of 24 by 5 %
GLANCE = 6  # batches of a peer's first try: those that are slow with one number of workers are so by far
CLOSE = 0.75  # of the highest rate: what is not as fast at a glance is not tried again


class Peers:
    """The peers that can run here, with the workers that suit each best; why the others cannot.

    Attributes:
        checks: peer -> `bench.peers.check.difference` to our views, gray levels.
        missing: peer -> why it is not measured.
        workers: peer -> worker processes.
        tried: peer -> workers -> clips/s of the last try.
    """

    def __init__(self, loader: ClipLoader, *, batches: int, device: str, counts: Sequence[int]) -> None:
        self.loader, self.batches, self.device = loader, batches, device
        self.checks: dict[str, float] = {}
        self.missing: dict[str, str] = {}
        self.workers: dict[str, int] = {}
        self.tried: dict[str, dict[int, float]] = {}
        ours = our_views(loader)
        for peer in PEERS:
            try:
                self._check(peer, ours)
                best, tried = best_workers(counts, partial(self._try, peer), (GLANCE, TRIED))
                self.workers[peer], self.tried[peer] = best, tried
            except Exception as error:  # whatever a foreign package raises: it is the reason to show
                self.missing[peer] = f"{type(error).__name__}: {_first_line(error)}"
        self.rounds: dict[str, list[Round]] = {peer: [] for peer in self.workers}

    def _check(self, peer: str, ours: Sequence[Tensor]) -> None:
        """Raise ValueError when its views are not `ours`."""
        importlib.import_module(PEERS[peer].module)
        self.checks[peer] = round(difference(ours, peer_views(PEERS[peer], self.loader)), 2)
        if self.checks[peer] > MOST_DIFFERENCE:
            raise ValueError(f"its views differ from ours by {self.checks[peer]:.1f} gray levels on average")

    def run(self, peer: str, workers: int, start: int, batches: int) -> Round:
        """Measure a round of one peer: the clips of the loader from step `start` on.

        Workers deliver in bursts of a batch each: the warm-up is two bursts, and four are timed at least.
        """
        ahead, count = max(0, 2 * workers - WARM_UP), max(batches, 4 * workers)
        # More than are taken, so that no worker is idle while the clock runs.
        wanted, size = WARM_UP + ahead + count + 2 * workers, self.loader.order.batch_size
        clips = peer_clips(self.loader, start, wanted, prepared=PEERS[peer].prepared)
        with peer_batches(PEERS[peer], clips, batch_size=size, workers=workers, device=self.device) as arriving:
            return measure(arriving, count, device=self.device, ahead=ahead)

    def _try(self, peer: str, workers: int, batches: int) -> float:
        return self._rate(self.run(peer, workers, 0, batches))

    def _rate(self, one: Round) -> float:
        return round(one.rate * self.loader.order.batch_size, 1)

    def round(self, start: int) -> None:
        """Measure a round of every peer, next to one of ours that began at step `start`."""
        for peer, workers in self.workers.items():
            self.rounds[peer].append(self.run(peer, workers, start, self.batches))

    def figures(self, ours: Sequence[Round]) -> dict[str, Any]:
        """Return the figures of the peers of a task; `ours` are our rounds that alternated with theirs."""
        peers = dict(self._peer_figures(ours))
        result: dict[str, Any] = {"peers": peers, "peers_missing": self.missing}
        rates = {peer: figures["clips_per_s"] for peer, figures in peers.items()}
        if rates:
            best = max(rates, key=rates.__getitem__)
            result |= {
                "best_peer": best,
                "lead_over_best_peer": peers[best]["lead"],
                "lead_quartiles": peers[best]["lead_quartiles"],
            }
        if sources := [peer for peer in rates if not PEERS[peer].prepared]:
            result["best_peer_of_sources"] = max(sources, key=rates.__getitem__)
        return result

    def _peer_figures(self, ours: Sequence[Round]) -> Iterator[tuple[str, dict[str, Any]]]:
        size = self.loader.order.batch_size
        for peer, rounds in self.rounds.items():
            rates = [one.rate * size for one in rounds]
            leads = [mine.rate / theirs.rate for mine, theirs in zip(ours, rounds, strict=True)]
            cpu_s = sum(one.cpu_s for one in rounds)
            clips = size * sum(len(one.seconds) for one in rounds)
            yield (
                peer,
                {
                    "clips_per_s": round(statistics.median(rates), 1),
                    "clips_per_s_quartiles": quartiles(rates),
                    "lead": round(statistics.median(leads), 2),
                    "lead_quartiles": quartiles(leads, 2),
                    "cpu_s_per_1000_clips": round(1000 * cpu_s / clips, 1),
                    "workers": self.workers[peer],
                    "tried_workers": self.tried[peer],
                    "difference_to_ours": self.checks[peer],
                    "most_difference": MOST_DIFFERENCE,
                },
            )


def worker_counts(cores: int) -> list[int]:
    """Return 0, 1, 2, 4 ... and one per core."""
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return sorted({0, *doubled, cores})


def best_workers(
    counts: Sequence[int], rate: Callable[[int, int], float], tries: Sequence[int]
) -> tuple[int, dict[int, float]]:
    """Return the number of workers with the highest rate, and the rate of each in its last try.

    Args:
        rate: of a number of workers, over a number of batches.
        tries: the batches of each try; for the next one only those are left that come close to the fastest.
    """
    tried: dict[int, float] = {}
    left = list(counts)
    for batches in tries:
        tried |= {workers: rate(workers, batches) for workers in left}
        most = max(tried[workers] for workers in left)
        left = [workers for workers in left if tried[workers] >= CLOSE * most]
        if len(left) == 1:
            break
    return max(left, key=tried.__getitem__), tried


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
