"""Other ways to load the same clips: four decoders, each in torch's DataLoader.

A peer is a function from a `PeerClip` to its views, cropped, scaled and mirrored: RGB, uint8 (T, 3, size, size), or
(T, size, size, 3) with OpenCV. It decodes every frame once and scales it once per view; torchvision antialiases,
OpenCV does not. The task's other transforms (`bench.peers.transforms`) use torchvision or OpenCV.
"""

import importlib
import multiprocessing
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.peers.data import PeerClip
from bench.peers.opencv import OpenCV
from bench.peers.torchvision import Torch
from bench.peers.transforms import Library, apply_transforms
from configs.errors import UserError


def _threads() -> int:
    """Return the threads of a decoder: 1 if torch has one, as in a worker; else 0, FFmpeg's choice."""
    return 1 if torch.get_num_threads() == 1 else 0


def torchcodec(clip: PeerClip) -> list[Tensor]:
    create = importlib.import_module("torchcodec.decoders").VideoDecoder
    decoder = create(clip.video, num_ffmpeg_threads=_threads(), seek_mode="approximate")
    return _views(decoder.get_frames_at(clip.frames).data, clip)


def decord(clip: PeerClip) -> list[Tensor]:
    reader = importlib.import_module("decord").VideoReader(str(clip.video), num_threads=_threads())
    return _views(torch.from_numpy(reader.get_batch(clip.frames).asnumpy()).permute(0, 3, 1, 2), clip)


def pyav(clip: PeerClip) -> list[Tensor]:
    """Seek to the key frame before the first frame and decode up to the last one."""
    import av

    wanted, images = set(clip.frames), {}
    with av.open(str(clip.video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = _threads()
        stream.codec_context.thread_type = "AUTO"
        assert stream.average_rate is not None
        assert stream.time_base is not None
        ticks = 1 / (stream.average_rate * stream.time_base)
        first = stream.start_time or 0
        container.seek(first + int(min(wanted) * ticks), stream=stream)
        for frame in container.decode(stream):
            assert frame.pts is not None
            number = round((frame.pts - first) / ticks)
            if number in wanted:
                images[number] = frame.to_ndarray(format="rgb24")
            if number >= max(wanted):
                break
    frames = np.stack([images[number] for number in clip.frames])
    return _views(torch.from_numpy(frames).permute(0, 3, 1, 2), clip)


def _views(frames: Tensor, clip: PeerClip) -> list[Tensor]:
    """Crop and scale the views of a clip from its decoded `clip.frames`, uint8 (U, 3, H, W)."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as v2

    place = {number: at for at, number in enumerate(clip.frames)}
    made = []
    for view in clip.views:
        shown, order = view.distinct
        places = [place[number] for number in shown]
        run = slice(places[0], places[-1] + 1)  # usually a view's frames are one run: then nothing is copied
        part = v2.crop(frames, *view.box)[run if len(places) == places[-1] + 1 - places[0] else places]
        how = InterpolationMode.BICUBIC if view.cubic else InterpolationMode.BILINEAR
        scaled: Tensor = v2.resize(part, [view.size, view.size], how)
        scaled = scaled if order == list(range(len(shown))) else scaled[order]
        made.append(scaled.flip(-1) if view.mirror else scaled)
    return made


def jpeg_zip(clip: PeerClip) -> list[np.ndarray]:
    """Load a zip of JPEGs as CtP does, decoded and scaled by OpenCV."""
    cv2 = importlib.import_module("cv2")
    with zipfile.ZipFile(clip.jpegs) as archive:
        files = {number: np.frombuffer(archive.read(f"{number:05d}.jpg"), np.uint8) for number in clip.frames}
    pictures = {number: cv2.imdecode(file, cv2.IMREAD_COLOR_RGB) for number, file in files.items()}
    made = []
    for view in clip.views:
        (top, left, height, width), (shown, order), size = view.box, view.distinct, (view.size, view.size)
        scale = partial(cv2.resize, dsize=size, interpolation=cv2.INTER_CUBIC if view.cubic else cv2.INTER_LINEAR)
        scaled = [scale(pictures[number][top : top + height, left : left + width]) for number in shown]
        frames = np.empty((len(order), *size, 3), np.uint8)
        for target, place in zip(frames, order, strict=True):
            if view.mirror:
                cv2.flip(scaled[place], 1, dst=target)
            else:
                target[:] = scaled[place]
        made.append(frames)
    return made


@dataclass(frozen=True)
class Peer:
    """A way to load clips.

    module: the required package. views: cuts the views out of a clip. library: applies their other transforms.
    prepared: whether it reads the videos that `prepare` made, or JPEGs like them, instead of the sources.
    """

    module: str
    views: Callable[[PeerClip], Sequence[Tensor | np.ndarray]]
    library: Callable[[], Library] = Torch
    prepared: bool = False


OF_SOURCES = {
    "torchcodec": Peer("torchcodec", torchcodec),
    "decord": Peer("decord", decord),
    "pyav": Peer("av", pyav),
    "jpeg_zip": Peer("cv2", jpeg_zip, OpenCV),
}
PEERS = OF_SOURCES | {f"{name}_prepared": replace(peer, prepared=True) for name, peer in OF_SOURCES.items()}


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Return these names, or all peers if there are none; UserError for an unknown name."""
    for name in names:
        if name not in PEERS:
            raise UserError(f"--peers {name}: the peers are {', '.join(PEERS)}")
    return tuple(names or PEERS)


class PeerDataset(Dataset[list[Tensor]]):
    """Clips made by one peer: their views, float32, with the axes in its library's order."""

    def __init__(self, peer: Peer, clips: Sequence[PeerClip]) -> None:
        self.peer, self.clips = peer, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> list[Tensor]:
        clip, library = self.clips[i], self.peer.library()
        views = zip(self.peer.views(clip), clip.views, strict=True)
        return [apply_transforms(frames, view.transforms, library) for frames, view in views]


@contextmanager
def peer_batches(
    peer: Peer, clips: Sequence[PeerClip], *, batch_size: int, workers: int, device: str
) -> Iterator[Iterator[list[Tensor]]]:
    """Yield batches on `device`, float32 (B, 3, T, size, size) for each view; the workers end with the block.

    As with our loader, the channels keep their order in memory: moving them is up to the network.
    """
    # A fork of this process may hang, as DALI and CUDA have threads in it; a server without threads imports torch once.
    multiprocessing.set_forkserver_preload([__name__, "torchvision.transforms.v2"])
    loader = DataLoader(
        PeerDataset(peer, clips),
        batch_size,
        num_workers=workers,
        pin_memory=device != "cpu",
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_single_threaded,
    )
    iterator, channels = iter(loader), peer.library().channels + 1
    try:
        yield ([view.to(device, non_blocking=True).movedim(channels, 1) for view in batch] for batch in iterator)
    finally:
        if workers:
            iterator._shutdown_workers()  # type: ignore[attr-defined]


def _single_threaded(worker: int) -> None:
    """Limit OpenCV to one thread in a worker; DataLoader does so for torch."""
    with suppress(ModuleNotFoundError):
        importlib.import_module("cv2").setNumThreads(0)
