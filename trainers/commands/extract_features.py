"""Extract pooled features of videos: `clipfeed features SRC... --checkpoint CKPT --out FILE.npz`.

SRC is a prepared dataset, or any video files and folders, which are read in place. FILE.npz holds, for N videos sorted
by name:

    names              text (N,)
    features           float32 (N, C), means over the views of a video; nan if it could not be read
    labels             int64 (N,), from the dataset or the top-level folders; -1 for none
    class_names        text
    unreadable         text (U,), names of the videos that could not be read
    reasons            text (U,), why, in the same order
    settings           JSON: the checkpoint with its SHA-256, and the views

Exits with status 0, or 3 if some videos could not be read; always 0 under torchrun, which takes 3 for a crash.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from configs.errors import shown
from configs.options import add_machine, given, whole_number
from configs.schema import MOST_WORKERS
from configs.words import counted
from dali_pipelines.store.files import replacing
from dali_pipelines.store.storage import location
from dali_pipelines.tasks.recognition import MOST_CLIPS
from trainers.engine.devices import enough_memory
from trainers.engine.distributed import exit_status, start
from trainers.engine.work_dir import require_writable
from trainers.evaluation.video_features import VideoFeatures, extract_features
from trainers.evaluation.videos import BATCH_AND_WAY_OUT


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed features", description="Write the pooled features of videos.")
    parser.add_argument("sources", nargs="+", type=location, metavar="SRC", help="a dataset, or videos and folders")
    parser.add_argument("--checkpoint", required=True, metavar="CKPT", help="a run, a checkpoint's .pt, or an export")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the file to write")
    parser.add_argument("--clips", type=_clips, metavar="N|windows", help="clips of a video (the classifier's, or 10)")
    parser.add_argument("--crops", choices=("center", "three", "five", "ten"), help="crops of a clip (center)")
    parser.add_argument("--frames", type=whole_number(1), metavar="T", help="frames of a clip (as in training)")
    parser.add_argument("--stride", type=whole_number(1), help="frame step of a clip (as in training, near 2)")
    reading = "processes per rank that read the files (4)"
    parser.add_argument("--workers", type=whole_number(0, MOST_WORKERS), default=4, help=reading)
    add_machine(parser)
    return parser


def _clips(text: str) -> int | str:
    return text if text == "windows" else whole_number(1, MOST_CLIPS)(text)


def main(argv: list[str]) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.out.is_dir():
        parser.error(f"--out {args.out} is a folder: give the name of a file")
    if args.out.suffix != ".npz":  # else a slip would replace a video or a checkpoint
        parser.error(f"--out {args.out}: must end in .npz")
    with start(args.device, given(args)) as ranks, enough_memory(*BATCH_AND_WAY_OUT):
        ranks.on_rank0(lambda: require_writable(args.out.parent, option="--out"))
        views = {"clips": args.clips, "crops": args.crops, "num_frames": args.frames, "stride": args.stride}
        features = extract_features(args.checkpoint, args.sources, **views, workers=args.workers, ranks=ranks)
    unreadable = features.unreadable
    if ranks.rank == 0:
        save(args.out, features)
        for name, reason in unreadable.items():
            print(f"unreadable: {shown(name)}: {shown(reason)}", file=sys.stderr)
        count, channels = features.values.shape
        print(f"{args.out}: {channels} features of {counted(count, 'video')}, {len(unreadable)} unreadable", flush=True)
    return exit_status(3 if unreadable else 0)


def save(out: Path, features: VideoFeatures) -> None:
    """Write FILE.npz atomically; the module docstring has its format."""
    with replacing(out) as part, part.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            names=np.array(features.names, str),
            features=features.values,
            labels=features.labels,
            class_names=np.array(features.class_names, str),
            unreadable=np.array([*features.unreadable], str),
            reasons=np.array([*features.unreadable.values()], str),
            settings=np.array(json.dumps(features.settings)),
        )
