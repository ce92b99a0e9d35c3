"""Suggest the intended name for one that does not exist."""

import difflib
from collections.abc import Sequence

ALIASES = {
    "backbone": ("model", "arch", "architecture", "network", "encoder"),
    "work_dir": ("output", "output_dir", "out_dir", "save_dir", "log_dir", "exp_dir"),
    "seed": ("random_seed", "manual_seed"),
    "data.root": ("dataset", "data_dir", "data_path", "data_root", "root_dir"),
    "data.list": ("train_list", "ann_file", "csv", "annotations", "video_list"),
    "data.test_list": ("val_list", "test_file", "ann_file_test"),
    "data.workers": ("num_workers", "n_workers", "workers_per_gpu"),
    "plan.num_frames": ("clip_len", "clip_length", "seq_len", "frames", "n_frames", "sample_duration"),
    "plan.size": ("crop_size", "image_size", "img_size", "img_dim", "input_size", "resolution", "sample_size"),
    "plan.stride": ("interval", "frame_interval", "sampling_rate", "downsample", "ds", "frame_step"),
    "optim.name": ("optimizer", "optim", "opt"),
    "optim.lr": ("learning_rate", "base_lr", "initial_lr", "lr0"),
    "optim.momentum": ("beta1", "betas"),
    "optim.weight_decay": ("wd", "l2"),
    "optim.clip_norm": ("grad_clip", "clip_grad", "gradient_clip", "max_grad_norm", "gradient_clip_val"),
    "schedule.kind": ("scheduler", "lr_scheduler", "lr_schedule", "lr_policy"),
    "schedule.milestones": ("lr_steps", "decay_epochs"),
    "schedule.warmup_iters": ("warmup", "warmup_steps"),
    "train.epochs": ("num_epochs", "max_epochs", "n_epochs", "total_epochs"),
    "train.global_batch": ("batch_size", "batch", "bs", "videos_per_gpu", "samples_per_gpu", "train_batch_size"),
    "train.accumulate": ("accumulation_steps", "gradient_accumulation_steps", "accumulate_grad_batches", "update_freq"),
    "train.amp": ("fp16", "bf16", "precision", "mixed_precision"),
    "train.checkpoint_every": ("save_every", "save_freq", "save_interval", "checkpoint_interval", "checkpoint_freq"),
    "train.log_every": ("log_interval", "print_freq", "log_freq", "log_every_n_steps"),
    "train.loggers": ("logger", "tensorboard", "wandb"),
    "validation.share": ("val_split", "val_ratio", "val_share"),
}
"""Our key -> its names in other programs."""

OTHER_SECTION = 0.85
"""Minimum similarity, up to 1, of a key in another section: above that of `plan.speeds` and `seed`."""


def nearest(name: str, names: Sequence[str]) -> str:
    """Return "; did you mean NAME?" with the most similar name, or ""."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def nearest_key(key: str, keys: Sequence[str]) -> str:
    """Return "; did you mean KEY?" with the most likely dotted key, or "".

    In this order: the key with this name in other programs; a key of this name in another section; a similar key in the
    same section; a similar key in another section.
    """
    section, _, name = key.rpartition(".")
    names = [other.rpartition(".")[2] for other in keys]
    own = [other.rpartition(".")[2] for other in keys if other.rpartition(".")[0] == section]
    near = [ours for ours, theirs in ALIASES.items() if name.lower() in theirs and ours in keys]
    near += [other for other, last in zip(keys, names, strict=True) if last == name]
    near += [f"{section}.{last}" if section else last for last in difflib.get_close_matches(name, own, 1)]
    near += [keys[names.index(last)] for last in difflib.get_close_matches(name, names, 1, OTHER_SECTION)]
    return f"; did you mean {near[0]}?" if near else ""
