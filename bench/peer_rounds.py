"""Our loader and its peers on one task, in one run: which peers there are, that all agree, and how fast each is."""

import importlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from nvidia.dali.data_node import DataNode
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bench.meters import WARM_UP, Round, measure, spread
from bench.peer_data import PeerClip, peer_clips
from bench.peers import PEERS, SIZE, peer_batches
from dali_pipelines.graph.geometry import crop_resize
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task

TASK = "recognition"
"""What the peers are measured on: one crop of one clip, and changes of colour that all of them can make."""
CHECKED = 8  # clips
BLOCK = 4  # pixels: what scaling with and without antialiasing does to single ones is no fault
MOST_DIFFERENCE = 4.5
"""Grey levels by which the block means of a peer's clips may differ from ours, on average.

The prepared video is encoded once more, and perhaps scaled: right clips of these videos differ by 2 to 3.6. Clips that
are a frame off differ by 6.5, two pixels off by 7, mirrored by 40.
"""


def crops_only(frames: DataNode, plan: dict[str, DataNode]) -> dict[str, DataNode]:
    """The task's clips before colour, uint8."""
    return {"clips": crop_resize(frames, plan["crop_start"], plan["crop_end"], size=SIZE)}


class Peers:
    """The peers that can run here, with the workers that suit each best; why the others cannot.

    Attributes:
        checks: peer -> mean absolute difference of block means to our clips, grey levels.
        missing: peer -> why it is not measured.
        workers: peer -> worker processes.
        tried: peer -> workers -> clips/s of a short try.
    """

    def __init__(self, index: Index, *, batch_size: int, batches: int, device: str, counts: Sequence[int]) -> None:
        self.batch_size, self.batches, self.device = batch_size, batches, device
        self.loader = ClipLoader(index, Task(TASK, _default_config()), batch_size=batch_size, graph=crops_only)
        self.checks: dict[str, float] = {}
        self.missing: dict[str, str] = {}
        self._check()
        self.tried = {peer: {n: self._rate(self.run(peer, n, 0)) for n in counts} for peer in self.checks}
        self.workers = {peer: max(tried, key=lambda n: tried[n]) for peer, tried in self.tried.items()}
        self.rounds: dict[str, list[Round]] = {peer: [] for peer in self.checks}

    def _check(self) -> None:
        """Sorts the peers into `checks` and `missing`."""
        ours = next(iter(self.loader))["clips"][:CHECKED].float()
        self.loader.close()
        clips = peer_clips(self.loader, 0, 1)[: len(ours)]
        for peer, (module, crop) in PEERS.items():
            try:
                importlib.import_module(module)
                theirs = [crop(clip).transpose(0, 1).float() for clip in clips]
            except Exception as error:  # whatever a foreign package raises: it is the reason to show
                self.missing[peer] = f"{type(error).__name__}: {_first_line(error)}"
                continue
            difference = statistics.fmean(
                float((block_means(a) - block_means(b)).abs().mean()) for a, b in zip(ours, theirs, strict=True)
            )
            if difference > MOST_DIFFERENCE:
                self.missing[peer] = f"its clips differ from ours by {difference:.1f} grey levels on average"
            else:
                self.checks[peer] = round(difference, 2)

    def run(self, peer: str, workers: int, start: int) -> Round:
        """A round of one peer: the clips of the loader from step `start` on.

        Workers deliver in bursts of a batch each: the warm-up is two bursts, and four are timed at least.
        """
        warm_up, count = max(WARM_UP, 2 * workers), max(self.batches, 4 * workers)
        # More than are taken, so that no worker is idle while the clock runs.
        clips = peer_clips(self.loader, start, warm_up + count + 2 * workers)
        with self._open(peer, clips, workers) as batches:
            return measure(batches, count, device=self.device, warm_up=warm_up)

    def _open(self, peer: str, clips: Sequence[PeerClip], workers: int) -> Any:
        return peer_batches(peer, clips, batch_size=self.batch_size, workers=workers, device=self.device)

    def _rate(self, one: Round) -> float:
        return round(one.rate * self.batch_size, 1)

    def round(self, start: int) -> None:
        """One round of every peer, beside one of ours that began at step `start`."""
        for peer, workers in self.workers.items():
            self.rounds[peer].append(self.run(peer, workers, start))

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
        for peer, rounds in self.rounds.items():
            rates = [one.rate * self.batch_size for one in rounds]
            cpu_s = sum(one.cpu_s for one in rounds)
            clips = self.batch_size * sum(len(one.seconds) for one in rounds)
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


def block_means(clip: Tensor) -> Tensor:
    """(3, T, H, W) to (3, T, H / BLOCK, W / BLOCK)."""
    return avg_pool2d(clip, BLOCK)


def _default_config() -> Any:
    from dali_pipelines.tasks.recognition import Config

    return Config()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
