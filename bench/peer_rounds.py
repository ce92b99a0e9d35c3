"""Our loader and its peers on one task, in one run: which peers there are, that all agree, and how fast each is."""

import importlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bench.meters import WARM_UP, Round, measure, spread
from bench.peer_data import PeerClip, peer_clips
from bench.peers import PEERS, peer_batches
from dali_pipelines.loader import ClipLoader

TRIED = 6  # batches, at least, that a number of workers is tried with
CHECKED = 8  # samples
BLOCK = 4  # pixels: what scaling with and without antialiasing does to single ones is no fault
LUMA = (0.299, 0.587, 0.114)  # chroma has half the size: what loaders make of it where they enlarge is no fault
MOST_DIFFERENCE = 3.5
"""Grey levels by which the mean brightness of blocks of a peer's views may differ from ours, on average.

The prepared video is encoded once more, and perhaps scaled: right views of these videos differ by 1.3 to 3.0. Views
that are two pixels off differ by 4.3 and more, a frame off by 5.4, with red and blue exchanged by 7.6, mirrored by 27.
"""


class Peers:
    """The peers that can run here, with the workers that suit each best; why the others cannot.

    Attributes:
        checks: peer -> mean absolute difference of block means to our views, grey levels.
        missing: peer -> why it is not measured.
        workers: peer -> worker processes.
        tried: peer -> workers -> clips/s of a short try.
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
                self.workers[peer], self.tried[peer] = best_workers(counts, partial(self._try, peer))
            except Exception as error:  # whatever a foreign package raises: it is the reason to show
                self.missing[peer] = f"{type(error).__name__}: {_first_line(error)}"
        self.rounds: dict[str, list[Round]] = {peer: [] for peer in self.workers}

    def _check(self, peer: str, ours: Sequence[Tensor]) -> None:
        """ValueError when its views are not `ours`."""
        importlib.import_module(PEERS[peer].module)
        clips = self._clips(peer, 0, 1)[:CHECKED]
        theirs = [view.float() for clip in clips for view in PEERS[peer].views(clip)]
        differences = [
            float((block_means(mine) - block_means(other)).abs().mean())
            for mine, other in zip(ours, theirs, strict=True)
        ]
        self.checks[peer] = round(statistics.fmean(differences), 2)
        if self.checks[peer] > MOST_DIFFERENCE:
            raise ValueError(f"its views differ from ours by {self.checks[peer]:.1f} grey levels on average")

    def run(self, peer: str, workers: int, start: int, batches: int) -> Round:
        """A round of one peer: the clips of the loader from step `start` on.

        Workers deliver in bursts of a batch each: the warm-up is two bursts, and four are timed at least.
        """
        warm_up, count = max(WARM_UP, 2 * workers), max(batches, 4 * workers)
        # More than are taken, so that no worker is idle while the clock runs.
        clips = self._clips(peer, start, warm_up + count + 2 * workers)
        size = self.loader.order.batch_size
        with peer_batches(PEERS[peer], clips, batch_size=size, workers=workers, device=self.device) as arriving:
            return measure(arriving, count, device=self.device, warm_up=warm_up)

    def _try(self, peer: str, workers: int) -> float:
        return self._rate(self.run(peer, workers, 0, TRIED))

    def _clips(self, peer: str, start: int, batches: int) -> list[PeerClip]:
        return peer_clips(self.loader, start, batches, prepared=PEERS[peer].prepared)

    def _rate(self, one: Round) -> float:
        return round(one.rate * self.loader.order.batch_size, 1)

    def round(self, start: int) -> None:
        """One round of every peer, beside one of ours that began at step `start`."""
        for peer, workers in self.workers.items():
            self.rounds[peer].append(self.run(peer, workers, start, self.batches))

    def figures(self, ours: Sequence[Round]) -> dict[str, Any]:
        """What the JSON says of the peers of a task; `ours` are our rounds beside theirs."""
        result: dict[str, Any] = {"peers": dict(self._peer_figures()), "peers_missing": self.missing}
        if self.rounds:
            best = max(result["peers"], key=lambda peer: result["peers"][peer]["clips_per_s"])
            leads = [mine.rate / theirs.rate for mine, theirs in zip(ours, self.rounds[best], strict=True)]
            result |= {
                "best_peer": best,
                "lead_over_best_peer": round(statistics.median(leads), 2),
                "lead_quartiles": spread(leads, 2),
            }
        return result

    def _peer_figures(self) -> Iterator[tuple[str, dict[str, Any]]]:
        size = self.loader.order.batch_size
        for peer, rounds in self.rounds.items():
            rates = [one.rate * size for one in rounds]
            cpu_s = sum(one.cpu_s for one in rounds)
            clips = size * sum(len(one.seconds) for one in rounds)
            yield (
                peer,
                {
                    "clips_per_s": round(statistics.median(rates), 1),
                    "clips_per_s_quartiles": spread(rates),
                    "cpu_s_per_1000_clips": round(1000 * cpu_s / clips, 1),
                    "workers": self.workers[peer],
                    "tried_workers": self.tried[peer],
                    "difference_to_ours": self.checks[peer],
                    "most_difference": MOST_DIFFERENCE,
                },
            )


def worker_counts(cores: int) -> list[int]:
    """0, 1, 2, 4 ... and one a core."""
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return sorted({0, *doubled, cores})


def best_workers(counts: Sequence[int], rate: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """The number of workers with the highest rate, and the rate of each."""
    tried = {workers: rate(workers) for workers in counts}
    return max(tried, key=lambda workers: tried[workers]), tried


def our_views(loader: ClipLoader) -> list[Tensor]:
    """The views of the first samples of a loader before colour, float32 (T, 3, size, size) each, decoded by PyAV.

    Where DALI decodes, it makes the same of a plan within a few grey levels (tests/test_cuts.py).
    """
    source, cuts = replace(loader.source, pyav=True), loader.task.cuts
    assert cuts is not None
    views = []
    for row in loader.order.rows(0, 0)[:CHECKED].tolist():
        media = dict(zip(source.names, source.read(0, row), strict=True))["media"]
        frames = torch.from_numpy(media).permute(0, 3, 1, 2).float()
        views += frames.split(list(cuts.lengths))
    return views


def block_means(view: Tensor) -> Tensor:
    """The mean brightness of blocks: (T, 3, H, W) to (T, H / BLOCK, W / BLOCK)."""
    return avg_pool2d((view * torch.tensor(LUMA)[:, None, None]).sum(dim=1), BLOCK)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
