"""Something-Something v2: the folder of labels.json, train.json and validation.json, with or without their long names.

Its videos are not in class folders, so these files also define the classes.
"""

from typing import Any

from configs.errors import UserError
from dali_pipelines.datasets.formats import Lists, Reading, Source
from dali_pipelines.datasets.formats.json_list import load, template

PREFIX = "something-something-v2-"


def recognizes(source: Source) -> bool:
    """Tell whether a folder has the labels file and the training list."""
    return source.is_folder and _file(source, "labels") is not None and _file(source, "train") is not None


def read(source: Source) -> Lists:
    """Read the lists as train.txt and validation.txt; class ids are those of labels.json.

    An entry has an id and a template; without its brackets, the template is the class.
    """
    classes = _classes(_required(source, "labels"))
    entries = {}
    for subset in ("train", "validation"):
        file = _required(source, subset)
        found = load(file)
        if not isinstance(found, list):
            raise file.error(found, "it must be a list of objects with id and template")
        names, labels = [], []
        for entry in found:
            try:
                name, label = str(entry["id"]), template(entry["template"])
            except (KeyError, TypeError, AttributeError):
                raise file.error(entry, "an entry must have an id and a template") from None
            if label not in classes:
                raise file.error(entry, "the template, without brackets, must be one of labels.json")
            names.append(name)
            labels.append(label)
        entries[f"{subset}.txt"] = [Reading(names=names, labels=labels)]
    return Lists(entries=entries, class_names=tuple(classes))


def _classes(file: Source) -> dict[str, int]:
    """Return class -> id, sorted by id; ids start at 0."""
    found: Any = load(file)
    try:
        classes = {str(name): int(number) for name, number in found.items()}
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise file.error(found, 'it must be an object such as {"Holding something": "0"}') from None
    if sorted(classes.values()) != list(range(len(classes))):
        raise file.error(sorted(classes.values()), f"the ids must be 0 to {len(classes) - 1}")
    return dict(sorted(classes.items(), key=lambda item: item[1]))


def _file(source: Source, part: str) -> Source | None:
    return source.find(f"{part}.json", f"{PREFIX}{part}.json")


def _required(source: Source, part: str) -> Source:
    if (file := _file(source, part)) is None:
        raise UserError(f"{source.path} holds no {part}.json and no {PREFIX}{part}.json")
    return file
