"""Something-Something v1's CSV files as its makers publish them: something-something-v1-{labels,train,validation}.csv.

Its videos lie in no folders of classes, so these files define the classes too. The test videos have none.
"""

from pathlib import Path

from configs.errors import UserError
from dali_pipelines.datasets.formats import Entry, Lists, Reading, text_lines

FILE = "something-something-v1-{}.csv"


def recognizes(path: Path) -> bool:
    """Tell whether a folder holds the file of labels."""
    return (path / FILE.format("labels")).is_file()


def read(path: Path) -> Lists:
    """Return train.txt and validation.txt with the classes; a class's id is its place in the file of labels.

    A line is `<id>;<label>`.
    """
    classes = tuple(text_lines(path / FILE.format("labels")))
    id_of = {label: number for number, label in enumerate(classes)}
    entries: dict[str, list[Entry]] = {}
    labels: dict[str, int] = {}
    for subset in ("train", "validation"):
        file = path / FILE.format(subset)
        entries[f"{subset}.txt"] = []
        for line in text_lines(file):
            video, _, label = line.partition(";")
            if label not in id_of:
                raise UserError(
                    f"{file}: a line must be a video, a semicolon and a label of {FILE.format('labels')}, and not "
                    f"{line!r}"
                )
            entries[f"{subset}.txt"].append((Reading(video),))
            labels[video] = id_of[label]
    return Lists(entries=entries, labels=labels, class_names=classes)
