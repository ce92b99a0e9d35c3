"""Jester: the folder of jester-v1-{labels,train,validation}.csv."""

from dali_pipelines.datasets.formats import Lists, Source
from dali_pipelines.datasets.formats.ssv1 import read_semicolons

PREFIX = "jester-v1"


def recognizes(source: Source) -> bool:
    """Tell whether a folder has the labels file."""
    return (source.path / f"{PREFIX}-labels.csv").is_file()


def read(source: Source) -> Lists:
    """Read the lists as train.txt and validation.txt; a line is `<id>;<label>`."""
    return read_semicolons(source, PREFIX)
