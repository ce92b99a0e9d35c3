"""Other ways to load the same clips: four decoders, each in torch's DataLoader.

A peer is a function from a `PeerClip` to its cropped, scaled and mirrored frames, uint8 (T, 3, SIZE, SIZE) RGB, before
colour. All scale bilinearly without antialiasing, as the loader does, but for torchcodec inside its decoder.
"""

import importlib
import multiprocessing
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from bench.peer_data import Colours, PeerClip

SIZE = 112
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # imagenet's, as the task's


def _threads() -> int:
    """Decoder threads: one in a worker, as many as FFmpeg likes (0) in the main process."""
    return 0 if get_worker_info() is None else 1


def torchcodec(clip: PeerClip) -> Tensor:
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(clip.video, num_ffmpeg_threads=_threads(), seek_mode="approximate")
    return _crop_resize_flip(decoder.get_frames_at(clip.frames).data, clip)


def torchcodec_transforms(clip: PeerClip) -> Tensor:
    """Crop and scale inside torchcodec's decoder (its scaling is antialiased)."""
    transforms = importlib.import_module("torchcodec.transforms")
    top, left, height, width = clip.box

    # torchcodec itself crops at the centre or at random only.
    spec = f"crop, {height}, {width}, {left}, {top}"
    crop = type("Crop", (transforms.RandomCrop,), {"_make_transform_spec": lambda self, input_dims: spec})
    decoder = importlib.import_module("torchcodec.decoders").VideoDecoder(
        clip.video,
        num_ffmpeg_threads=_threads(),
        seek_mode="approximate",
        transforms=[crop((height, width)), transforms.Resize((SIZE, SIZE))],
    )
    frames: Tensor = decoder.get_frames_at(clip.frames).data
    return frames.flip(-1) if clip.flip else frames


def decord(clip: PeerClip) -> Tensor:
    reader = importlib.import_module("decord").VideoReader(str(clip.video), num_threads=_threads())
    return _crop_resize_flip(torch.from_numpy(reader.get_batch(clip.frames).asnumpy()).permute(0, 3, 1, 2), clip)


def pyav(clip: PeerClip) -> Tensor:
    """Seeks to the key frame before the first frame and decodes up to the last one."""
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
    return _crop_resize_flip(torch.from_numpy(frames).permute(0, 3, 1, 2), clip)


def jpeg_zip(clip: PeerClip) -> Tensor:
    """As CtP stores and loads its videos: a zip of JPEGs each, decoded and scaled by OpenCV."""
    cv2 = importlib.import_module("cv2")
    top, left, height, width = clip.box
    frames = np.empty((len(clip.frames), SIZE, SIZE, 3), np.uint8)
    with zipfile.ZipFile(clip.jpegs) as archive:
        for place, number in enumerate(clip.frames):
            picture = cv2.imdecode(np.frombuffer(archive.read(f"{number:05d}.jpg"), np.uint8), cv2.IMREAD_COLOR)
            part = cv2.resize(picture[top : top + height, left : left + width], (SIZE, SIZE))
            cv2.cvtColor(cv2.flip(part, 1) if clip.flip else part, cv2.COLOR_BGR2RGB, dst=frames[place])
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _crop_resize_flip(frames: Tensor, clip: PeerClip) -> Tensor:
    from torchvision.transforms.v2 import functional as v2

    scaled: Tensor = v2.resized_crop(frames, *clip.box, [SIZE, SIZE], antialias=False)
    return scaled.flip(-1) if clip.flip else scaled


PEERS: dict[str, tuple[str, Callable[[PeerClip], Tensor]]] = {
    "torchcodec": ("torchcodec", torchcodec),
    "torchcodec_transforms": ("torchcodec.transforms", torchcodec_transforms),
    "decord": ("decord", decord),
    "pyav": ("av", pyav),
    "jpeg_zip": ("cv2", jpeg_zip),
}
"""Name -> the module that it needs, and what it does."""


def torchvision_colour(frames: Tensor, colours: Colours) -> Tensor:
    """float32 (3, T, H, W), normalised. torchvision cannot add grey levels: its brightness at mid-grey is the same."""
    from torchvision.transforms.v2 import functional as v2

    if colours.levels is not None:
        frames = v2.adjust_brightness(frames, 1 + colours.levels / 128)
    if colours.gain is not None:
        frames = v2.adjust_contrast(frames, colours.gain)
    if colours.hue is not None and colours.saturation is not None:
        frames = v2.adjust_hue(v2.adjust_saturation(frames, colours.saturation), colours.hue / 360)
    return v2.normalize(v2.to_dtype(frames, torch.float32, scale=True), MEAN, STD).transpose(0, 1)


def opencv_colour(frames: Tensor, colours: Colours) -> Tensor:
    """The same with NumPy and OpenCV, whose 8-bit HSV is much faster than torchvision's."""
    cv2 = importlib.import_module("cv2")
    pixels = frames.permute(0, 2, 3, 1).numpy()
    if colours.levels is not None or colours.gain is not None:
        gain, levels = colours.gain or 1.0, colours.levels or 0.0
        table = np.clip((np.clip(np.arange(256) + levels, 0, 255)) * gain, 0, 255).astype(np.uint8)
        pixels = cv2.LUT(pixels.reshape(-1, SIZE, 3), table).reshape(pixels.shape)
    if colours.hue is not None and colours.saturation is not None:
        hsv = cv2.cvtColor(pixels.reshape(-1, SIZE, 3), cv2.COLOR_RGB2HSV)
        values = np.arange(256)
        turned = (values + round(colours.hue / 2)) % 180  # OpenCV counts hue in steps of two degrees
        tables = np.stack([turned, np.clip(values * colours.saturation, 0, 255), values], axis=1)
        hsv = cv2.LUT(hsv, tables.astype(np.uint8)[None])
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(pixels.shape)
    scale = [1 / (255 * deviation) for deviation in STD]
    shift = [-mean / deviation for mean, deviation in zip(MEAN, STD, strict=True)]
    values = pixels * np.array(scale, np.float32) + np.array(shift, np.float32)
    return torch.from_numpy(values).permute(3, 0, 1, 2)


class PeerDataset(Dataset[Tensor]):
    """Clips as one peer makes them, float32 (3, T, SIZE, SIZE)."""

    def __init__(self, peer: str, clips: Sequence[PeerClip]) -> None:
        self.peer, self.clips = peer, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Tensor:
        clip = self.clips[i]
        colour = opencv_colour if self.peer == "jpeg_zip" else torchvision_colour
        return colour(PEERS[self.peer][1](clip), clip.colours)


@contextmanager
def peer_batches(
    peer: str, clips: Sequence[PeerClip], *, batch_size: int, workers: int, device: str
) -> Iterator[Iterator[Tensor]]:
    """Batches float32 (B, 3, T, SIZE, SIZE) on `device`; the workers end with the block."""
    # A fork of this process, in which DALI and CUDA have threads, may hang; a server without any imports torch once.
    multiprocessing.set_forkserver_preload([__name__, "torchvision.transforms.v2"])
    loader = DataLoader(
        PeerDataset(peer, clips),
        batch_size,
        num_workers=workers,
        pin_memory=device != "cpu",
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_single_threaded,
    )
    iterator = iter(loader)
    try:
        yield (batch.to(device, non_blocking=True) for batch in iterator)
    finally:
        if workers:
            iterator._shutdown_workers()  # type: ignore[attr-defined]


def _single_threaded(worker: int) -> None:
    """One thread a worker; torch sees to its own."""
    with suppress(ModuleNotFoundError):
        importlib.import_module("cv2").setNumThreads(0)
