"""Makers' lists of HMDB51 and Something-Something v1 for a prepared dataset: `python -m dali_pipelines.lists ...`.

Videos first, then lists:

    python -m dali_pipelines.prepare hmdb51_org --out data/hmdb51
    python -m dali_pipelines.lists hmdb51 testTrainMulti_7030_splits --data-dir data/hmdb51

    python -m dali_pipelines.prepare 20bn-something-something-v1 --out data/ssv1
    python -m dali_pipelines.lists ssv1 LABELS --data-dir data/ssv1

The first writes trainlist01.txt to testlist03.txt, the second train.txt and validation.txt. The videos of ssv1 lie in
no folders of classes: `lists` also puts their classes into the index, and is given again whenever `prepare` is.
UCF101's lists need none of this, they are read as they are: `listed` leaves off what the quarantine holds.
"""

import argparse
import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.errors import UserError, run_cli
from dali_pipelines.prepare import QUARANTINE_FILE
from dali_pipelines.store.files import replacing
from dali_pipelines.store.index import Index

Lists = dict[str, list[str]]  # file name -> names of videos

HMDB51_FILE = "{}_test_split{}.txt"
HMDB51_PARTS = {"0": None, "1": "train", "2": "test"}
SSV1_FILE = "something-something-v1-{}.csv"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m dali_pipelines.lists", description=__doc__.split("\n")[0])
    parser.add_argument("dataset", choices=("hmdb51", "ssv1"), help="HMDB51 or Something-Something v1")
    parser.add_argument("lists", type=Path, metavar="LISTS", help="folder of the makers' lists")
    parser.add_argument("--data-dir", required=True, type=Path, metavar="DIR", help="the prepared dataset")
    args = parser.parse_args(argv)
    index = Index.load(args.data_dir)
    if args.dataset == "hmdb51":
        lists = keep_prepared(hmdb51(args.lists), index)
    else:
        listed, labels, classes = ssv1(args.lists)
        lists = keep_prepared(listed, index)
        ids = [labels.get(name, -1) for name in index.names.texts()]
        replace(index, labels=np.array(ids, np.int64), class_names=classes).save()
        print(f"{args.data_dir}: {len(classes)} classes; {ids.count(-1)} of {len(ids)} videos are on no list")
    for name, videos in lists.items():
        with replacing(args.data_dir / name) as part:
            part.write_text("".join(f"{video}\n" for video in videos))
        print(f"{args.data_dir / name}: {len(videos)} videos")


def hmdb51(folder: Path) -> Lists:
    """The three splits from <class>_test_split<N>.txt; names are class/video.

    A line is `<video>.avi <flag>`: 1 train, 2 test, 0 neither (specs/ctp.md 5).
    """
    first = HMDB51_FILE.format("*", 1)
    classes = sorted(path.name.removesuffix(first[1:]) for path in folder.glob(first))
    if not classes:
        raise UserError(f"{folder} holds no {first}: give the folder testTrainMulti_7030_splits that HMDB51 comes with")
    lists: Lists = {f"{part}list0{split}.txt": [] for split in (1, 2, 3) for part in ("train", "test")}
    for split in (1, 2, 3):
        for name in classes:
            path = folder / HMDB51_FILE.format(name, split)
            for line in _lines(path):
                video, _, flag = line.rpartition(" ")
                if flag not in HMDB51_PARTS or not video:
                    raise UserError(f"{path}: a line must be a video and 0, 1 or 2, and not {line!r}")
                if part := HMDB51_PARTS[flag]:
                    lists[f"{part}list0{split}.txt"].append(f"{name}/{os.path.splitext(video.strip())[0]}")
    return lists


def ssv1(folder: Path) -> tuple[Lists, dict[str, int], tuple[str, ...]]:
    """train.txt and validation.txt, the class id of each video on them, and the names of the classes.

    Lines are `<id>;<label>`. A class's id is its place in the makers' file of labels. The test videos have none.
    """
    classes = tuple(_lines(folder / SSV1_FILE.format("labels")))
    id_of = {label: number for number, label in enumerate(classes)}
    lists: Lists = {}
    labels: dict[str, int] = {}
    for part in ("train", "validation"):
        path = folder / SSV1_FILE.format(part)
        lines = [line.partition(";") for line in _lines(path)]
        wrong = next(("".join(line) for line in lines if line[2] not in id_of), None)
        if wrong is not None:
            raise UserError(
                f"{path}: a line must be a video, a semicolon and a label of {SSV1_FILE.format('labels')}, and not "
                f"{wrong!r}"
            )
        lists[f"{part}.txt"] = [video for video, _, _ in lines]
        labels |= {video: id_of[label] for video, _, label in lines}
    return lists, labels, classes


def keep_prepared(lists: Lists, index: Index) -> Lists:
    """`lists` without the videos that `prepare` could not use, which are printed; UserError for others that lack."""
    known = set(index.names.texts())
    missing = sorted({name for names in lists.values() for name in names} - known)
    away = quarantined(index.root)
    gone = [name for name in missing if name not in away]
    if gone:
        raise UserError(
            f"{len(gone)} listed videos are not in {index.root}: {some(gone)}; prepare them as well, from the folder "
            "below which they have these names"
        )
    if missing:
        print(f"{len(missing)} videos are left off, as {index.root / QUARANTINE_FILE} says why: {some(missing)}")
    return {file: [name for name in names if name in known] for file, names in lists.items()}


def quarantined(root: Path) -> set[str]:
    """The names that the videos in the quarantine may have: the ends of their paths, with suffix and without."""
    try:
        with (root / QUARANTINE_FILE).open(newline="", errors="surrogateescape") as file:
            paths = [Path(row["path"]) for row in csv.DictReader(file)]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    ends = {"/".join(path.parts[-depth:]) for path in paths for depth in range(1, len(path.parts) + 1)}
    return ends | {os.path.splitext(end)[0] for end in ends}


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without the blanks around them."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read the makers' list {str(path)!r}: {reason}") from error
    return [line for line in lines if line]


def some(names: list[str]) -> str:
    """The first names of a message that has no room for all."""
    return ", ".join(names[:3]) + " ..." * (len(names) > 3)


if __name__ == "__main__":
    run_cli(main)
