"""Ensure that `prepare` overwrites only files that the dataset owns."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from configs.errors import UserError, first_names
from configs.words import counted
from dali_pipelines.datasets.fates import QUARANTINE_FILE
from dali_pipelines.store.files import (
    INDEX_FILE,
    JOURNAL_FILE,
    PART_FOLDER,
    VIDEO_FOLDER,
    is_video_name,
    temporary_path,
    video_path,
)
from dali_pipelines.store.journal import Entry, Journal

WAY_OUT = "give another --out, or move it"


def require_free(out: Path, sources: Iterable[Path | str]) -> None:
    """Raise UserError if a first run in `out` would overwrite a file, or if a source is among the dataset's videos."""
    own = os.path.realpath(out / VIDEO_FOLDER)
    for source in sources:
        if f"{os.path.realpath(source)}/".startswith(f"{own}/"):
            raise UserError(
                f"{source} lies in {out / VIDEO_FOLDER}, where the dataset's own files go: give another --out"
            )
    if not ((out / JOURNAL_FILE).exists() or (out / PART_FOLDER).is_dir()):
        for file in (INDEX_FILE, QUARANTINE_FILE):
            _require_absent(out / file)


def require_own_files(out: Path, journal: Journal, names: Iterable[str], *, alone: bool) -> None:
    """Raise UserError for a file among the dataset's videos that the journal does not know.

    That is one of `names`, which will be written, or any if `alone`: no other run writes videos to `out`.
    """
    for name in names:
        if name not in journal.known:
            _require_absent(video_path(out, name))
    if alone:
        own = {os.fspath(video_path(out, name)) for name in journal.known}
        files = (os.path.join(place, name) for place, _, names in os.walk(out / VIDEO_FOLDER) for name in names)
        videos = (file for file in files if is_video_name(file) and os.path.basename(file)[0] != ".")
        foreign = next((file for file in videos if file not in own), None)
        if foreign is not None:
            raise UserError(f"{foreign} was not made by prepare, but lies among the dataset's own files: {WAY_OUT}")


def _require_absent(path: Path) -> None:
    if os.path.lexists(path):
        raise UserError(f"{path} was not made by this dataset's prepare, which would write over it: {WAY_OUT}")


def remove_unfinished(out: Path, names: Iterable[str]) -> None:
    """Remove the half-written files that a killed run left of videos that no run stores anymore."""
    for name in names:
        temporary_path(video_path(out, name)).unlink(missing_ok=True)


def unused_files(out: Path, journal: Journal, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Yield a sentence on files of earlier runs that are not in the dataset, if any."""
    used = {name for name, entry in entries.items() if entry.record is not None and not entry.record.source}
    paths = {name: video_path(out, name) for name in sorted(journal.known - used)}
    sizes = {name: path.stat().st_size for name, path in paths.items() if path.is_file()}
    if not sizes:
        return
    live = {name.split("/")[0] for name in used}
    places = dict.fromkeys(
        str(out / VIDEO_FOLDER / top if slash and top not in live else paths[name])
        for name in sizes
        for top, slash, _ in [name.partition("/")]
    )
    yield (
        f"note: the dataset leaves out {counted(len(sizes), 'file')} of earlier runs, "
        f"{sum(sizes.values()) / 1e6:.1f} MB: it has the videos of this command's sources alone. To have all, give all "
        f"sources to one command; to free the space, delete {first_names(list(places))}"
    )
