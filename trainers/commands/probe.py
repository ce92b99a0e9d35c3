"""Probe a frozen backbone: `python trainers/probe.py --work-dir RUN --train LIST --test LIST`.

Fits a linear classifier on pooled features of the backbone of a run's newest checkpoint, and on those of the same
backbone with random weights.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from configs.errors import UserError
from configs.options import add_machine, given, whole_number
from configs.words import counted
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.store.files import write_json
from dali_pipelines.store.storage import joined
from dali_pipelines.tasks.recognition import MOST_CLIPS
from nets.backbones import create
from trainers.engine.devices import enough_memory
from trainers.engine.distributed import start
from trainers.engine.work_dir import require_writable
from trainers.evaluation.features import extract
from trainers.evaluation.intervals import in_words
from trainers.evaluation.linear import probe
from trainers.evaluation.notes import notes_on
from trainers.evaluation.videos import BATCH_AND_WAY_OUT
from trainers.weights import read


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="probe.py", description="Probe a run's backbone, and one of random weights.")
    parser.add_argument("--work-dir", type=Path, required=True, metavar="RUN", help="a run of pretrain.py")
    parser.add_argument("--data-dir", metavar="DIR", help="a labeled dataset, instead of the run's own")
    parser.add_argument("--train", required=True, metavar="LIST", help="videos to learn from; relative to the dataset")
    parser.add_argument("--test", required=True, metavar="LIST", help="videos to be tested on; relative to the dataset")
    parser.add_argument("--clips", type=whole_number(1, MOST_CLIPS), default=2, help="clips of a video, averaged (2)")
    parser.add_argument("--frames", type=whole_number(1), metavar="T", help="frames of a clip (as in pretraining)")
    parser.add_argument("--stride", type=whole_number(1), default=2, help="frame step of a clip (2)")
    add_machine(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    if args.json and args.json.suffix != ".json":  # else a slip would replace a list or a recipe
        parser.error(f"--json {args.json}: must end in .json")
    if not args.work_dir.is_dir():
        raise UserError(f"no run at {args.work_dir}; make one with clipfeed pretrain --work-dir")
    with start(args.device, given(args)) as ranks, enough_memory(*BATCH_AND_WAY_OUT):
        if args.json:
            ranks.on_rank0(lambda: require_writable(args.json.parent, option="--json"))
        weights = ranks.on_rank0(lambda: read(args.work_dir))
        assert weights.config is not None
        config, views = weights.config, weights.views()
        root = args.data_dir or config.data.root
        lists = [joined(root, name) for name in (args.train, args.test)]
        datasets = [open_dataset(root, lists[part], labeled=True, others=[lists[1 - part]]) for part in (0, 1)]
        train, test = (dataset.index for dataset in datasets)
        test_views = replace(views.test, clips=args.clips, crops="center")
        clips = replace(views, num_frames=args.frames or views.num_frames, stride=args.stride, test=test_views)
        torch.manual_seed(config.seed)
        random, learned = (create(config.backbone).to(ranks.device).eval() for _ in range(2))
        weights.load_backbone(learned, config.backbone)
        features = (extract([random, learned], index, clips, ranks, config.data) for index in (train, test))
        result = {
            name: probe(*pair, classes=len(train.class_names), device=ranks.device)
            for name, pair in zip(("random", config.task), zip(*features, strict=True), strict=True)
        }
    if ranks.rank:
        return
    notes = [note for dataset in datasets for note in dataset.notes]
    for note in notes + notes_on(train, test):
        print(f"note: {note}")
    chance = next(iter(result.values()))["chance"]
    of_each = counted(args.clips, "clip")
    print(f"linear probe, {len(train)} + {len(test)} videos, {of_each} each; chance {100 * chance:.1f} %")
    for name, figures in result.items():
        print(f"  {name:<10} top-1 {100 * figures['top1']:5.1f} %   {in_words(figures['interval'])}")
    if args.json:
        report = {"step": weights.step, "chance": chance, "videos": [len(train), len(test)], "probes": result}
        write_json(args.json, report)
