"""Videos to measure on, made once: textures that drift, at the usual Kinetics size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import INDEX_FILE, Index

WIDTH, HEIGHT, NUM_FRAMES, FPS = 336, 256, 150, 25


def bench_store(root: Path, *, videos: int = 24, codec: str = "vp9", gop: int = 8) -> Path:
    """A prepared dataset of `videos` clips of 336x256, 6 s each, in `root`; made only where it is missing."""
    if not (root / INDEX_FILE).is_file():
        records = {}
        for number in tqdm(range(videos), desc=f"bench videos in {root}", unit="video"):
            name = f"video{number:03d}"
            path = video_path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            records[name] = write_frames(path, drift(number), fps=FPS, settings=Encoding(codec=codec, gop=gop))
        Index.build(root, records).save()
    return root


def drift(seed: int) -> Iterator[np.ndarray]:
    """A texture with the spectrum of natural pictures, 1/f, that drifts; uint8 (H, W, 3) frames."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = np.inf
    noise = rng.standard_normal((3, HEIGHT, WIDTH))
    texture = np.fft.irfft2(np.fft.rfft2(noise) / frequency, (HEIGHT, WIDTH)).transpose(1, 2, 0)
    picture = np.clip(128 + 50 * texture / texture.std(), 0, 255).astype(np.uint8)
    step = rng.integers(-3, 4, size=2)
    return (np.roll(picture, step * t, axis=(0, 1)) for t in range(NUM_FRAMES))
