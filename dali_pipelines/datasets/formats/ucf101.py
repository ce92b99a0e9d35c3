"""UCF101: the folder ucfTrainTestlist of classInd.txt, trainlist01.txt to testlist03.txt."""

from dali_pipelines.datasets.formats import Lists, Reading, Source

CLASSES = "classInd.txt"
LISTS = tuple(f"{subset}list0{split}.txt" for split in (1, 2, 3) for subset in ("train", "test"))


def recognizes(source: Source) -> bool:
    """Tell whether a folder has the class index and a list."""
    return source.is_folder and source.find(CLASSES) is not None and source.find(*LISTS) is not None


def read(source: Source) -> Lists:
    """Read the lists in the folder; class ids follow the order of classInd.txt.

    A line of classInd.txt is `<id> <class>`, ids from 1. A line of a list is `<class>/<video>.avi`, sometimes with an
    id, from 1 here but from 0 in CSTP's copy (specs/cstp.md 6.2): the folder is the class.
    """
    file = Source(source.path / CLASSES)
    classes: dict[str, int] = {}
    for line in file.lines:
        number, *name = line.split(maxsplit=1)
        if not name or number != str(len(classes) + 1):
            raise file.error(line, f"a line must be an id and a class, the next is {len(classes) + 1}")
        classes[name[0]] = len(classes)
    entries = {}
    for subset in LISTS:
        listed = source.find(subset)
        if listed is None:
            continue
        names = [line.split(maxsplit=1)[0].replace("\\", "/") for line in listed.lines]
        labels = [name.partition("/")[0] for name in names]
        for label, line in zip(labels, listed.lines, strict=True):
            if label not in classes:
                raise listed.error(line, f"a line must be CLASS/VIDEO and maybe an id, with a class of {CLASSES}")
        entries[subset] = [Reading(names=names, labels=labels)]
    return Lists(entries=entries, class_names=tuple(classes))
