"""Write the lists of a dataset's makers for a prepared dataset, and its classes: `clipfeed lists ...`.

Videos first, then lists:

    clipfeed prepare hmdb51_org --out data/hmdb51
    clipfeed lists hmdb51 testTrainMulti_7030_splits --data-dir data/hmdb51

The lists then name the videos as the dataset does. Where the lists have labels and the dataset has no classes, or
other ones, the list's are put into its index; so run it again after every `prepare`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.errors import UserError, first_names
from configs.words import counted
from dali_pipelines.datasets.classes import base_note, classes_of_lists, numbered, one_to_one
from dali_pipelines.datasets.dataset import Dataset, labels_of
from dali_pipelines.datasets.fates import MISSING_FILE, write_reasons
from dali_pipelines.datasets.formats import Source, describe_formats, format_names, list_format, read_lists
from dali_pipelines.datasets.open import select_entries
from dali_pipelines.datasets.own_lists import is_users, write_list
from dali_pipelines.next_steps import after_prepare
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import is_url, location


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    if is_url(args.data_dir):
        raise UserError(f"cannot write lists to {args.data_dir}: run this where the dataset lies, then copy it there")
    index = Index.load(args.data_dir)
    # Check all lists before writing the first file.
    datasets: dict[Path, Dataset] = {}
    makers: tuple[str, ...] = ()
    for source in args.lists:
        lists = read_lists(source) if args.format == "auto" else list_format(args.format).read(Source(source))
        makers = lists.class_names
        for name, readings in lists.entries.items():
            path = args.data_dir / Path(name).with_suffix(".txt").name
            if path in datasets or (not is_url(source) and path.exists() and path.samefile(source)):
                raise UserError(f"{path} would be written twice, or is the list itself: rename {source}")
            listed = source if is_url(source) or Path(source).is_file() else path
            datasets[path] = select_entries(index, readings, listed, missing=args.missing)
    for path, dataset in datasets.items():
        if is_users(path, dataset.index.names.texts()):
            raise UserError(f"{path} is a list of yours, which is not written over: move it away")
    labeled = [dataset for dataset in datasets.values() if dataset.labels is not None]
    if labeled:
        _write_classes(index, labeled, makers if len(args.lists) == 1 else ())
    for path, dataset in datasets.items():
        write_list(path, dataset.index.names.texts())
        print(f"{path}: {counted(len(dataset.index), 'video')}")
        for note in dataset.notes:
            print(f"note: {note}")
    missing = {name: f"in {path.name}" for path, dataset in datasets.items() for name in dataset.missing}
    if missing:
        write_reasons(args.data_dir / MISSING_FILE, missing)
        print(f"missing: {counted(len(missing), 'listed video')}, named in {args.data_dir / MISSING_FILE}")
    print("\n".join(after_prepare(Index.load(args.data_dir))))


def make_parser() -> argparse.ArgumentParser:
    about = "".join(f"\n  {name:<10} {line}" for name, line in describe_formats().items())
    parser = argparse.ArgumentParser(
        prog="clipfeed lists",
        description=f"{__doc__}\nformats:\n  auto       whichever of these it is{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "format", choices=("auto", *format_names()), metavar="FORMAT", help="auto, or one of those above"
    )
    parser.add_argument(
        "lists", nargs="+", type=location, metavar="LISTS", help="a dataset's lists, or the folder of its makers' lists"
    )
    parser.add_argument("--data-dir", required=True, type=location, metavar="DIR", help="the prepared dataset")
    parser.add_argument(
        "--missing",
        choices=("error", "skip"),
        default="error",
        help=f"skip leaves out listed videos that the dataset does not have, and names them in DIR/{MISSING_FILE}",
    )
    return parser


def _write_classes(index: Index, datasets: Sequence[Dataset], makers: Sequence[str]) -> None:
    """Write the lists' classes to the index, unless it already has the same ones."""
    lists, old = [labels_of(dataset) for dataset in datasets], index.class_names
    label_of, classes = classes_of_lists(lists, makers=makers, known=old)
    texts = [label for listed in lists for label in listed.labels]
    held = [number for dataset in datasets for number in dataset.index.labels.tolist()]
    if old and min(held) >= 0 and one_to_one(texts, held):
        print(f"{index.root}: {counted(len(old), 'class', 'classes')}, those of the lists")
        return
    # Lists that cover only some of the known classes leave the others as they are.
    id_of = numbered(classes)
    kept = [id_of.get(old[number], -1) if number >= 0 else -1 for number in index.labels.tolist()]
    labels = [label_of.get(name, number) for name, number in zip(index.names.texts(), kept, strict=True)]
    if old and old != classes:
        print(f"note: the classes of {index.root} ({first_names(old)}) are replaced by the lists'")
    index.with_columns(labels=np.array(labels, np.int64), class_names=classes).save()
    count, of = counted(len(classes), "class", "classes"), counted(len(labels), "video")
    print(f"{index.root}: {count}; {labels.count(-1)} of {of} without a class")
    for note in base_note(index.root, classes, classes):
        print(f"note: {note}")
