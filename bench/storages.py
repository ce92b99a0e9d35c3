"""How fast do clips arrive from existing storages? `python bench/storages.py [SRC ...]`

Cuts videos into JPEGs of their own size, packs those as people do, indexes each storage in place, and measures a task's
clips from each and from a prepared store, in alternating rounds. See bench/README.md.
Heavy imports are inside functions: each worker of the loader imports this file once more.
"""

import argparse
import os
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bench.options import add_storage, loader_settings, require_positive
from bench.report import lead
from configs.errors import UserError, run_cli

PREPARED = "prepared"
LMDB = "LMDB of msgpack lists"
JPEG_QUALITY = "2"
"""FFmpeg's quantizer: the best one without further options, as people use it."""


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storages.py", description="How fast clips arrive from where videos lie.")
    add_storage(parser, rounds=5)
    args = parser.parse_args(argv)
    require_positive(args, "batch_size", "batches", "rounds", "threads")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        _compare(args, Path(folder))


def _compare(args: argparse.Namespace, folder: Path) -> None:
    from bench.data import default_task
    from bench.machine import save_json
    from bench.storage_data import costs, rounds, store_all_ways, synthetic_videos, table
    from dali_pipelines.datasets.open import Dataset

    settings = loader_settings(args)
    task = default_task(args.task)
    sources = args.sources or [synthetic_videos(args.work_dir / "made_up")]
    places, notes = pack(sources, folder / "packed")
    original = ["--codec", "original"]
    commands: dict[str, tuple[list[Path], list[str]]] = {PREPARED: (sources, [])}
    commands |= {f"{PREPARED} as raw video": (sources, ["--codec", "rawvideo"]), "video files": (sources, original)}
    commands |= {way: ([place], original) for way, place in places.items()}
    indices, left_out = store_all_ways(commands, folder / "indices")
    if PREPARED not in indices:
        raise UserError(f"there is no prepared store to compare with: {'; '.join(left_out)}")
    notes += left_out
    figures = {way: costs(index, [task]) for way, index in indices.items()}
    timed = {way: Dataset(index).long_enough(task).index for way, index in indices.items()}
    videos = len(timed[PREPARED])
    for rates in rounds(timed, task, settings, figures, rounds=args.rounds, batches=args.batches):
        for way in indices:
            figures[way]["of_prepared"] = round(lead(rates, way, PREPARED), 2)
        save_json(  # after each round: an interrupted bench keeps its results
            args.json,
            settings=settings | {"task": args.task, "videos": videos, "sources": [*map(str, sources)]},
            notes=notes,
            storages=figures,
        )
    print(*notes, table(figures, rates, args.task, base=PREPARED, title=PREPARED), sep="\n")


def pack(sources: list[Path], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Pack the videos of `sources` in every way; return the sources for `prepare` by way, and notes.

    Raises:
        UserError: a source is not a plain video file, FFmpeg cannot read it, or there is only one video.
    """
    from dali_pipelines.datasets.discover import find_videos

    found = find_videos(sources, outside=folder).videos
    if others := [str(place) for place in found.values() if place.is_pictures or place.parts is not None]:
        raise UserError(f"{others[0]} is no video file, and the JPEGs are cut from such: give video files alone")
    if len(found) == 1:  # `prepare` would name it after its archive
        raise UserError(f"{next(iter(found.values()))} is the only video: give two or more")
    ways = ("folders of JPEGs", "stored zips of JPEGs", "deflated zips of JPEGs", "tar of JPEGs", "tar of videos", LMDB)
    places = {way: folder / way.replace(" ", "_") for way in ways}
    jpegs, stored, deflated, *files = places.values()
    for name, place in found.items():
        cut(place.location, jpegs / name)
        write_zip(stored / f"{name}.zip", jpegs / name)
        write_zip(deflated / f"{name}.zip", jpegs / name, method=zipfile.ZIP_DEFLATED)
    with tarfile.open(files[0], "w") as pictures, tarfile.open(files[1], "w") as videos:
        for name, place in found.items():
            pictures.add(jpegs / name, name)
            videos.add(os.path.realpath(place.location), name + Path(place.location).suffix)
    try:
        write_lmdb(files[2], {name: jpegs / name for name in found})
    except ImportError as error:
        return {way: place for way, place in places.items() if way != LMDB}, [f"left out: {LMDB}: {error}"]
    return places, []


def cut(video: str, folder: Path) -> None:
    """Write the frames of a video as numbered JPEGs of its own size."""
    import imageio_ffmpeg

    folder.mkdir(parents=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", video, "-fps_mode", "passthrough"]
    # FFmpeg runs inside the folder, whose name may contain a %.
    done = subprocess.run(
        [*command, "-q:v", JPEG_QUALITY, "img_%05d.jpg"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"FFmpeg cannot cut {video} into JPEGs: {done.stderr.strip()}")


def write_zip(path: Path, folder: Path, *, method: int = zipfile.ZIP_STORED) -> None:
    """Write the pictures of a folder into a zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for picture in sorted(folder.iterdir()):
            archive.write(picture, picture.name)


def write_lmdb(path: Path, folders: Mapping[str, Path]) -> None:
    """Write the pictures of each video as one msgpack list, as CSTP does (specs/cstp.md 6.3)."""
    import lmdb
    import msgpack

    size = sum(picture.stat().st_size for folder in folders.values() for picture in folder.iterdir())
    with (
        lmdb.open(str(path), subdir=False, map_size=2 * size + 2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number, folder in enumerate(folders.values()):
            pictures = [picture.read_bytes() for picture in sorted(folder.iterdir())]
            transaction.put(f"{number:09d}".encode(), msgpack.dumps(pictures))
        transaction.put(b"__order__", msgpack.dumps([*folders]))


if __name__ == "__main__":
    run_cli(main)
