"""Something-Something v1: the folder of something-something-v1-{labels,train,validation}.csv.

Its videos are not in class folders, so these files also define the classes. The test videos have none.
"""

from dali_pipelines.datasets.formats import Lists, Reading, Source

PREFIX = "something-something-v1"


def recognizes(source: Source) -> bool:
    """Tell whether a folder has the labels file."""
    return (source.path / f"{PREFIX}-labels.csv").is_file()


def read(source: Source) -> Lists:
    """Read the lists as train.txt and validation.txt; see `read_semicolons`."""
    return read_semicolons(source, PREFIX)


def read_semicolons(source: Source, prefix: str) -> Lists:
    """Read the lists as train.txt and validation.txt; class ids follow the order of the labels file.

    A line is `<id>;<label>`.
    """
    classes = tuple(Source(source.path / f"{prefix}-labels.csv").lines)
    known = set(classes)
    entries = {}
    for subset in ("train", "validation"):
        file = Source(source.path / f"{prefix}-{subset}.csv")
        rows = [line.partition(";") for line in file.lines]
        for row in rows:
            if row[2] not in known:
                raise file.error(
                    "".join(row), f"a line must be a video, a semicolon and a label of {prefix}-labels.csv"
                )
        entries[f"{subset}.txt"] = [Reading(names=[row[0] for row in rows], labels=[row[2] for row in rows])]
    return Lists(entries=entries, class_names=classes)
