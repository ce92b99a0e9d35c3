"""HMDB51's splits as its makers publish them: testTrainMulti_7030_splits/CLASS_test_splitN.txt."""

import os
from pathlib import Path

from configs.errors import UserError
from dali_pipelines.datasets.formats import Entry, Lists, Reading, text_lines

FILE = "{}_test_split{}.txt"
SUBSET_OF_FLAG = {"0": None, "1": "train", "2": "test"}
SPLITS = (1, 2, 3)


def recognizes(path: Path) -> bool:
    """Tell whether a folder holds a file of the first split."""
    return any(path.glob(FILE.format("*", 1)))


def read(path: Path) -> Lists:
    """Return trainlist01.txt to testlist03.txt; names are class/video.

    A line is `<video>.avi <flag>`: 1 train, 2 test, 0 neither (specs/ctp.md 5).
    """
    first = FILE.format("*", 1)
    classes = sorted(file.name.removesuffix(first[1:]) for file in path.glob(first))
    if not classes:
        raise UserError(f"{path} holds no {first}: give the folder testTrainMulti_7030_splits that HMDB51 comes with")
    entries: dict[str, list[Entry]] = {
        f"{subset}list0{split}.txt": [] for split in SPLITS for subset in ("train", "test")
    }
    for split in SPLITS:
        for name in classes:
            file = path / FILE.format(name, split)
            for line in text_lines(file):
                video, _, flag = line.rpartition(" ")
                if flag not in SUBSET_OF_FLAG or not video:
                    raise UserError(f"{file}: a line must be a video and 0, 1 or 2, and not {line!r}")
                if subset := SUBSET_OF_FLAG[flag]:
                    stem = os.path.splitext(video.strip())[0]
                    entries[f"{subset}list0{split}.txt"].append((Reading(f"{name}/{stem}"),))
    return Lists(entries=entries)
