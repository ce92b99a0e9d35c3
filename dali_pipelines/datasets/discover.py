"""Find the videos that a prepare command names, and their classes."""

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from configs.errors import UserError, first_names
from dali_pipelines.store.files import is_video_name
from dali_pipelines.store.source import PICTURE


def find_videos(sources: Iterable[Path], *, outside: Path) -> dict[str, Path]:
    """Return the videos of `sources` by name, in the order of the names.

    A folder is searched recursively (links followed) for files with a video suffix; names are the paths below it
    without the suffix. Where it has none, each folder of numbered pictures is a video, named by its path below the
    source. A file is taken whatever its suffix.

    Args:
        outside: a folder that is not searched.

    Raises:
        UserError: a source does not exist, two videos have one name, or there is no video at all.
    """
    sources = list(sources)
    found: dict[str, Path] = {}
    for source in sources:
        if source.is_file():
            named = [(source.stem, source)]
        elif source.is_dir():
            named = [(_name(path, source), path) for path in _search(source, outside)]
        else:
            raise UserError(f"no such file or folder: {source}")
        for name, path in named:
            if found.setdefault(name, path) != path:
                raise UserError(
                    f"two videos would both be named {name!r}: {found[name]} and {path}; rename one, or prepare "
                    "them into different datasets"
                )
    if not found:
        places = ", ".join(map(str, sources))
        raise UserError(
            f"no video files in {places}, and no folders of numbered pictures; files with another suffix can be given "
            "by their path"
        )
    return dict(sorted(found.items()))


def _name(path: Path, source: Path) -> str:
    if path == source:  # itself a folder of pictures
        return path.resolve().name
    relative = path.relative_to(source)
    return (relative.with_suffix("") if is_video_name(path) else relative).as_posix()


def _search(root: Path, outside: Path) -> list[Path]:
    """Return the video files below `root`; where there are none, the folders of pictures."""
    files: list[Path] = []
    folders: list[Path] = []
    outside = outside.resolve()
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in seen or Path(folder).resolve() == outside:  # a link back up; the output itself
            subfolders.clear()
            continue
        seen.add(here)
        files += [Path(folder, name) for name in names if is_video_name(Path(name)) and not name.startswith(".")]
        if not files and any((match := PICTURE.fullmatch(name)) and match["number"] for name in names):
            folders.append(Path(folder))
    return files or folders


def read_labels(rule: str, names: Iterable[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class id of each name (-1: none) and the class names.

    Args:
        rule: "folders" (the first level is the class), "none", or the path of a CSV file.
    """
    names = list(names)
    if rule == "none":
        return dict.fromkeys(names, -1), ()
    if rule == "folders":
        classes = sorted({name.split("/")[0] for name in names if "/" in name})
        ids = {class_name: number for number, class_name in enumerate(classes)}
        return {name: ids[name.split("/")[0]] if "/" in name else -1 for name in names}, tuple(classes)
    return _labels_from_csv(Path(rule), names)


def _labels_from_csv(path: Path, names: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Read lines `name,label` with an optional header; labels are all integers, or class names sorted into ids."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the labels {str(path)!r} (folders, none or a CSV file): {error}") from error
    if rows and rows[0] == ["name", "label"]:
        del rows[0]
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None:
        raise UserError(f"{path}: a line must be name,label and not {','.join(wrong)!r}")
    texts = _match({name: label.strip() for name, label in rows}, names, path)
    if all(text.isdecimal() for text in texts.values()):
        labels = {name: int(text) for name, text in texts.items()}
        return labels, tuple(str(number) for number in range(max(labels.values()) + 1))
    classes = sorted(set(texts.values()))
    return {name: classes.index(text) for name, text in texts.items()}, tuple(classes)


def _match(texts: Mapping[str, str], names: list[str], path: Path) -> dict[str, str]:
    """Return the label of each name; UserError when the file leaves one out or names one that does not exist."""
    expected = set(names)
    matched = {name if name in expected else os.path.splitext(name)[0]: text for name, text in texts.items()}
    for problem, wrong in (
        ("has labels for {} videos that are not there", matched.keys() - expected),
        ("has no label for {} of the videos", expected - matched.keys()),
    ):
        if wrong:
            raise UserError(f"{path} {problem.format(len(wrong))}: {first_names(sorted(wrong))}")
    return matched
