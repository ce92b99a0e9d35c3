"""Turn a position in the schedule into a sample. This runs in the loader's workers."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from dali_pipelines import kernels
from dali_pipelines.decode.frames import PLANAR, decode_planes
from dali_pipelines.decode.rgb import rgb_matrix
from dali_pipelines.plan.order import Order
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.read_ahead import Read
from dali_pipelines.store.index import Index
from dali_pipelines.store.mp4 import plain_mp4
from dali_pipelines.store.reader import EncodedClip, LocatedClip, locate_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.tasks import Task

log = logging.getLogger(__name__)

ATTEMPTS = 20
FIXED = ("row", "decoded", "media")
Sample = tuple[np.ndarray, ...]
Media = Literal["encoded", "planes", "frames"]
HANDED_OVER: dict[Media, tuple[str, ...]] = {
    "encoded": ("frames", "order"),
    "planes": ("chroma", "matrix", "order"),
    "frames": (),
}
"""Kind of media -> arrays handed over with it."""

MAX_PLANES = 2**23
"""Maximum bytes of a sample sent to a GPU as whole frames, some 70 of 320x240; above, workers crop and scale first."""


class Position(NamedTuple):
    """A slot of a batch in the schedule, and the rows found unreadable so far, which are replaced."""

    epoch: int
    step: int
    slot: int
    unreadable: frozenset[int]


def decoded_media(index: Index, task: Task, *, gpu: bool) -> Media:
    """Choose PyAV's output: scaled RGB frames for a CPU; for a GPU, which does the rest itself, planes if they fit."""
    formats = {index.formats[form].split()[1] for form in np.unique(index.format_ids).tolist()}
    largest = int(index.sizes_WH.prod(axis=1, dtype=np.int64).max()) * 3 // 2
    frames = task.program.frames
    planar = formats <= PLANAR and not (index.sizes_WH % 2).any()
    if gpu and planar and frames * largest <= MAX_PLANES:
        return "planes"
    if kernels.NATIVE is None:
        log.warning("pixel operations are not compiled, NumPy takes much longer: clipfeed doctor says what to do")
    return "frames"


def plan_of_row(index: Index, task: Task, *, seed: int, epoch: int, row: int) -> dict[str, np.ndarray]:
    """Draw the plan of a row's sample, which depends only on the seed, the epoch and the row."""
    return task.plan(index.info(row), generator(seed, Stream.SAMPLE, epoch, row))


@dataclass(frozen=True, eq=False)
class Draft:
    """A sample whose bytes have not been read yet."""

    row: int
    plan: dict[str, np.ndarray]
    clip: LocatedClip

    @property
    def nbytes(self) -> int:
        """Number of bytes to read."""
        return self.clip.nbytes

    def read(self) -> EncodedClip:
        """Read the bytes; ClipError if they are missing."""
        return self.clip.read()


@dataclass(frozen=True)
class SampleSource:
    """Make the samples of one rank. A DALI callback must not raise, so unreadable videos have stand-ins.

    Attributes:
        start: step, counted from epoch 0, of the pipeline's iteration 0.
        media: what DALI gets: "encoded" bytes for its decoder; 4:2:0 "planes", decoded here and converted to RGB by
            the graph; or the task's "frames" in RGB, decoded here.
        unreadable: rows found unreadable when the source was made.
        steps: number of operations per view executed here, on "frames" (`Program.host_steps`).
    """

    index: Index
    task: Task
    order: Order
    media: Media
    start: int = 0
    unreadable: frozenset[int] = frozenset()
    steps: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays of a sample, in order.

        row: int64 scalar, the dataset row that was read, or -1 if none could be read.
        decoded: int32 scalar, number of frames that a decoder without seeking decodes for it.
        media: uint8; the encoded bytes (bytes,), the luma (U, H, W, 1) or the task's frames (T, H, W, 3).
        frames: int32 (U,), with encoded bytes: the frames to decode, ascending, counted from the first in `media`.
        chroma, matrix: with luma, as in `decode.frames.Planes`.
        order: int32 (T,), with either: the task's frames as indices into those U. Views may share frames, and DALI's
            CPU decoder takes seven times as long if asked for a frame twice.
        Then the arrays of the task's plan that the graph takes.
        """
        task = self.task
        return (*FIXED, *HANDED_OVER[self.media], *task.program.dali_arrays(steps=self.steps), *task.labels)

    @property
    def layouts(self) -> list[str]:
        """DALI's layout of each array in `names`."""
        known = {"media": "" if self.media == "encoded" else "FHWC", "chroma": "FCHW"}
        return [known.get(name, "") for name in self.names]

    def position(self, iteration: int, slot: int) -> Position:
        """Return the position of `slot` in the batch that a pipeline iteration delivers."""
        return Position(*self.order.at(self.start + iteration), slot, self.unreadable)

    def sample(self, position: Position, ahead: Read | None = None) -> Sample:
        """Make the sample at a position, or its stand-in: the same for every rank, worker and backend.

        ahead: waits for the draft of `first` and its bytes.
        """
        for row in self.candidates(position):
            with suppress(ClipError, OSError):
                if ahead is None:
                    return self.read(position.epoch, row)
                wait, ahead = ahead, None
                return self.decoded(*wait())
        return self.placeholder()

    def candidates(self, position: Position) -> Iterator[int]:
        """Yield the row at a position and its stand-ins, in the order to try them."""
        epoch, step, slot, unreadable = position
        row = max(self.order.row(epoch, step, slot), 0)  # an empty slot gets row 0; the loader marks it
        draw = generator(self.order.seed, Stream.REPLACEMENT, epoch, row)
        for _ in range(ATTEMPTS):
            if row not in unreadable:
                yield row
            row = int(draw.integers(len(self.index)))

    def read(self, epoch: int, row: int) -> Sample:
        """Make the sample of a row; ClipError or OSError if its bytes are missing or do not decode."""
        draft = self.draft(epoch, row)
        return self.decoded(draft, draft.read())

    def first(self, position: Position) -> Draft:
        """Draft the sample of the row that is tried first at a position."""
        return self.draft(position.epoch, next(self.candidates(position)))

    def draft(self, epoch: int, row: int) -> Draft:
        """Draw the plan of a row's sample and locate its bytes."""
        plan = self.plan(epoch, row)
        frames = plan["frames"] if self.media == "frames" else np.unique(plan["frames"])
        return Draft(row, plan, locate_clip(self.index, row, frames))

    def decoded(self, draft: Draft, clip: EncodedClip) -> Sample:
        """Make a sample from its bytes; ClipError or OSError if they do not decode."""
        arrays = dict(draft.plan)
        if self.media == "frames":
            arrays["media"] = self.task.program.host(clip, draft.plan, steps=self.steps)
        else:
            arrays["order"] = np.unique(draft.plan["frames"], return_inverse=True)[1].astype(np.int32)
            if self.media == "planes":
                arrays["media"], arrays["chroma"], arrays["matrix"] = decode_planes(clip)
            else:
                arrays |= {"media": plain_mp4(clip), "frames": clip.frames}
        arrays |= {"row": np.array(draft.row, np.int64), "decoded": np.array(clip.decoded, np.int32)}
        return tuple(np.asarray(arrays[name], order="C") for name in self.names)  # DALI takes no strided arrays

    def plan(self, epoch: int, row: int) -> dict[str, np.ndarray]:
        """Draw the plan of a row's sample."""
        return plan_of_row(self.index, self.task, seed=self.order.seed, epoch=epoch, row=row)

    def placeholder(self) -> Sample:
        """Make a sample of zeros with row -1, for when no stand-in can be read either.

        If DALI decodes, the empty buffer fails the batch.
        """
        arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self.task.plan_schema.items()}
        length = len(arrays["frames"])
        side = self.task.program.size if self.steps else 16
        shape: dict[Media, tuple[int, ...]] = {
            "encoded": (0,),
            "planes": (1, side, side, 1),
            "frames": (length, side, side, 3),
        }
        arrays |= {
            "row": np.array(-1, np.int64),
            "decoded": np.array(0, np.int32),
            "media": np.zeros(shape[self.media], np.uint8),
            "frames": np.zeros(1, np.int32),
            "chroma": np.zeros((1, 2, side // 2, side // 2), np.uint8),
            "matrix": rgb_matrix(full_range=True),
            "order": np.zeros(length, np.int32),
        }
        return tuple(arrays[name] for name in self.names)
