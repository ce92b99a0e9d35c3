"""HMDB51: the folder testTrainMulti_7030_splits of CLASS_test_splitN.txt."""

from configs.errors import UserError
from dali_pipelines.datasets.formats import Lists, Reading, Source

FILE = "{}_test_split{}.txt"
SUBSET_OF_FLAG = {"0": None, "1": "train", "2": "test"}
SPLITS = (1, 2, 3)


def recognizes(source: Source) -> bool:
    """Tell whether a folder holds a file of the first split."""
    return any(source.path.glob(FILE.format("*", 1)))


def read(source: Source) -> Lists:
    """Read the lists as trainlist01.txt to testlist03.txt; names are class/video.

    A line is `<video>.avi <flag>`: 1 train, 2 test, 0 neither (specs/ctp.md 5).
    """
    first = FILE.format("*", 1)
    classes = sorted(file.name.removesuffix(first[1:]) for file in source.path.glob(first))
    if not classes:
        raise UserError(
            f"{source.path} holds no {first}: give the folder testTrainMulti_7030_splits that HMDB51 comes with"
        )
    names: dict[str, list[str]] = {f"{subset}list0{split}.txt": [] for split in SPLITS for subset in ("train", "test")}
    for split in SPLITS:
        for name in classes:
            file = Source(source.path / FILE.format(name, split))
            for line in file.lines:
                *video, flag = line.rsplit(maxsplit=1)
                if flag not in SUBSET_OF_FLAG or not video:
                    raise file.error(line, "a line must be a video and 0, 1 or 2")
                if subset := SUBSET_OF_FLAG[flag]:
                    names[f"{subset}list0{split}.txt"].append(f"{name}/{video[0]}")
    entries = {
        subset: [Reading(names=listed, labels=[name.partition("/")[0] for name in listed])]
        for subset, listed in names.items()
    }
    return Lists(entries=entries, class_names=tuple(classes))
