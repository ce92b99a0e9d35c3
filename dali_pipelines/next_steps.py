"""Commands to run next, ready to copy."""

import shlex
from pathlib import Path

import yaml

from configs.errors import UserError
from configs.recipes import find_ours, names, row
from configs.schema import Config, Recognition, Validation
from dali_pipelines.datasets.hold_out import hold_out
from dali_pipelines.datasets.open import select
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import is_url

PRETRAIN = "ctp/r3d18_kinetics"
FINETUNE = "recognition/ctp_r3d18_ucf101"
"""Recipes with the usual backbone. The first has no list, so it uses all videos."""


def after_prepare(index: Index) -> list[str]:
    """Suggest commands for a prepared dataset, one per line."""
    run = f"runs/{Path(index.root).resolve().name}"
    lines = [command("pretrain", PRETRAIN, index, "--work-dir", run)]
    if _labeled(index):
        lines.append(command("finetune", FINETUNE, index, "--pretrained", run))
    return ["next:", *(f"  {line}" for line in lines)]


def after_pretrain(config: Config, index: Index) -> list[str]:
    """Suggest commands for a pretrained network, one per line. `index` has the videos of the run."""
    run, index = config.work_dir, index.whole  # the next commands take the dataset's own lists
    lines = [f"clipfeed preview --config {shlex.quote(run)}/config.yaml --out preview.html"]
    if "tensorboard" in config.train.loggers:
        lines.insert(0, f"tensorboard --logdir {shlex.quote(run)}")
    if _labeled(index) and (recipe := recognition_recipe(config.task, config.backbone)):
        lines.append(command("finetune", recipe, index, "--pretrained", run))
        if lists_in(index.root)[1]:
            lines.append(command("test", recipe, index, "--checkpoint", run, "--protocol", "retrieval"))
    return ["next:", *(f"  {line}" for line in lines)]


def after_finetune(config: Recognition) -> list[str]:
    """Suggest commands for a classifier, one per line."""
    if not config.data.test_list:
        return []
    return ["next:", f"  clipfeed test --checkpoint {shlex.quote(config.work_dir)} --protocol video"]


def command(name: str, recipe: str, index: Index, *more: str) -> str:
    """Build a clipfeed command for a recipe and a dataset, with the overrides that the dataset needs.

    They set the lists found in the dataset, the share of videos to validate on if the recipe's leaves none or there are
    no lists, and a global batch no larger than the number of videos to train on.
    """
    tree = yaml.safe_load(find_ours(recipe).read_text(encoding="utf-8"))  # unchecked: checks need DALI
    lists = dict(zip(("list", "test_list"), lists_in(index.root), strict=True))
    if tree["task"] != "recognition":
        del lists["test_list"]
    changes: dict[str, object] = {
        f"data.{key}": found or "null"
        for key, found in lists.items()
        if found != str(tree["data"].get(key) or "").replace("{split}", "1")
    }
    batch, used = int(tree["train"].get("global_batch", 32)), _listed(index, lists["list"])
    videos = len(used)
    if tree["task"] == "recognition":
        share = tree.get("validation", {}).get("share", Validation.share)
        can_validate = len(hold_out(used, share or Validation.share, seed=0)[1]) > 0
        if share and not can_validate:
            changes["validation.share"] = share = 0
        elif not share and can_validate and not any(lists.values()):  # nothing else measures the classifier
            changes["validation.share"] = share = Validation.share
        videos = max(int(videos * (1 - 2 * share)), 1)  # of each class: rounding may hold out twice the share
    if videos < batch:
        changes["train.global_batch"] = 2 ** (videos.bit_length() - 1)
    options = [word for change in changes.items() for word in ("--set", "{}={}".format(*change))]
    return shlex.join(["clipfeed", name, "--config", recipe, "--data-dir", str(index.root), *options, *more])


def recognition_recipe(task: str, backbone: str) -> str:
    """Return a recipe for finetuning a backbone, preferably one of the task's own; empty if there is none."""
    found = [name for name in names() if name.startswith("recognition/") and row(name)[1] == backbone]
    return next((name for name in found if f"/{task}_" in name), found[0] if found else "")


def lists_in(root: str | Path) -> tuple[str, str]:
    """Return the names of a dataset's training and test lists, empty where there is none."""
    names = [] if is_url(root) else sorted(path.name for path in Path(root).glob("*.txt"))
    kinds = (("train",), ("test", "val"))
    train, test = (next((name for name in names if name.startswith(kind)), "") for kind in kinds)
    return train, test


def _listed(index: Index, name: str) -> Index:
    """Return the videos in a list of the dataset; all of them without a list, or with one that cannot be used."""
    if not name:
        return index
    try:
        return select(index, Path(index.root, name)).index
    except UserError:
        return index


def _labeled(index: Index) -> bool:
    """Return whether every video to train a classifier on has a class."""
    used = _listed(index, lists_in(index.root)[0])
    return bool(index.class_names) and bool((used.labels >= 0).all())
