"""Makers' lists of HMDB51 and Something-Something v1 for a prepared dataset: `python -m dali_pipelines.lists ...`.

Videos first, then lists:

    python -m dali_pipelines.prepare hmdb51_org --out data/hmdb51
    python -m dali_pipelines.lists hmdb51 testTrainMulti_7030_splits --data-dir data/hmdb51

    python -m dali_pipelines.prepare 20bn-something-something-v1 --out data/ssv1
    python -m dali_pipelines.lists ssv1 LABELS --data-dir data/ssv1

The first writes trainlist01.txt to testlist03.txt, the second train.txt and validation.txt. The videos of ssv1 lie in
no folders of classes: `lists` also puts their classes into the index, and is given again whenever `prepare` is.
UCF101's lists need none of this, they are read as they are.
"""

import argparse
from pathlib import Path

import numpy as np

from configs.errors import run_cli
from dali_pipelines.datasets.formats import format_names, list_format
from dali_pipelines.datasets.open import select
from dali_pipelines.store.files import replacing
from dali_pipelines.store.index import Index


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m dali_pipelines.lists", description=__doc__.split("\n")[0])
    formats = [name for name in format_names() if name != "plain"]
    parser.add_argument("format", choices=formats, help="whose lists they are")
    parser.add_argument("lists", type=Path, metavar="LISTS", help="folder of the makers' lists")
    parser.add_argument("--data-dir", required=True, type=Path, metavar="DIR", help="the prepared dataset")
    args = parser.parse_args(argv)
    index = Index.load(args.data_dir)
    lists = list_format(args.format).read(args.lists)
    # All lists are checked before the first file is written.
    datasets = [select(index, entries, args.data_dir / name)[0] for name, entries in lists.entries.items()]
    if lists.class_names:
        ids = [lists.labels.get(name, -1) for name in index.names.texts()]
        index.with_columns(labels=np.array(ids, np.int64), class_names=lists.class_names).save()
        classes = len(lists.class_names)
        print(f"{args.data_dir}: {classes} classes; {ids.count(-1)} of {len(ids)} videos are on no list")
    for dataset in datasets:
        assert dataset.list_file is not None
        with replacing(dataset.list_file) as temporary:
            temporary.write_text("".join(f"{name}\n" for name in dataset.index.names.texts()))
        print(f"{dataset.list_file}: {len(dataset.index)} videos")
        for note in dataset.notes:
            print(f"note: {note}")


if __name__ == "__main__":
    run_cli(main)
