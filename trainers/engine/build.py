"""Build the parts of a run from a recipe."""

import os
import shutil
import warnings

import torch
from torch import nn

from configs.errors import UserError
from configs.plugins import look_up
from configs.schema import Config, Recognition, Train
from configs.words import counted
from dali_pipelines.loader import ClipLoader, too_few_videos
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from nets import backbones
from nets.classifier import Classifier
from nets.tasks import Pretext, build_task
from trainers.engine.distributed import Ranks
from trainers.engine.identity import ROWS, dataset_facts, options, versions
from trainers.engine.loggers import LOGGERS
from trainers.engine.online import OnlineProbe
from trainers.engine.optimizers import find_optimizer, make_optimizer
from trainers.engine.run import Run

COMPILERS = {"cpu": ("CXX", "g++"), "cuda": ("CC", "gcc", "clang")}
"""The environment variable in which torch.compile looks for a compiler, and the names that it tries without it."""


def check_recipe(config: Config) -> None:
    """Check a recipe without its dataset. UserError for unknown names, or a learning rate below its minimum."""
    look_up(config.backbone, backbones.BACKBONES, key="backbone", takes=())
    find_optimizer(config.optim.name)
    for name in config.train.loggers:
        look_up(name, LOGGERS, key="train.loggers", takes=("config", "first_step"))
    lr, least = config.optim.lr, config.schedule.min_lr
    if config.schedule.kind == "warmup_cosine" and lr < least:
        raise UserError(
            f"optim.lr = {lr} is below schedule.min_lr = {least}, the rate that warmup_cosine begins and ends with: "
            "lower that too"
        )


def build_loader(config: Config, ranks: Ranks, index: Index) -> ClipLoader:
    """Build the loader of this rank's shard. UserError for an unusable dataset or batch size."""
    data = config.data
    return ClipLoader(
        index,
        Task(config.task, config.plan),
        batch_size=batch_per_rank(config.train, ranks.world_size),
        rank=ranks.rank,
        world_size=ranks.world_size,
        seed=config.seed,
        device=str(ranks.device),
        workers=data.workers,
        threads=data.threads,
        decoder=data.decoder,
        timeout_s=data.timeout_s,
        most_unreadable=data.most_unreadable,
    )


def build_net(config: Config, classes: int = 0) -> Pretext:
    """Build the network of a recipe from random weights; `classes` are those of a classifier.

    UserError for an unknown backbone, or one that does not fit the task.
    """
    if not isinstance(config, Recognition):
        return build_task(config.task, config.backbone, Task(config.task, config.plan).batch_schema, config.net)
    normalization = NORMALIZATIONS[config.plan.normalization]
    return Classifier(backbones.create(config.backbone), classes, config.net, normalization=normalization)


def build_run(
    config: Config,
    ranks: Ranks,
    loader: ClipLoader,
    net: Pretext,
    *,
    identity: dict[str, object] | None = None,
    classes: tuple[str, ...] = (),
) -> Run:
    """Assemble a run. `net` is the same on all ranks; `identity` adds facts that must not change on resume."""
    facts = dataset_facts(loader.index)
    fixed = {
        "task": config.task,
        "backbone": config.backbone,
        "seed": config.seed,
        "train.global_batch": config.train.global_batch,
        "train.accumulate": config.train.accumulate,
        "optim.name": config.optim.name,
        **{key: facts[key] for key in (*ROWS, *["videos.labels"] * bool(classes))},
        **(identity or {}),
    }
    ranks.require_same(lambda: options(config) | versions() | facts | fixed)
    if len(loader) < config.train.accumulate:
        raise too_few_videos(loader.index, config.train.global_batch)
    net.check_batch(batch_per_rank(config.train, ranks.world_size), ranks.world_size)
    net, model = wrap(net, config.train, ranks)
    online = None
    if config.train.online_probe:
        index, bf16 = loader.index, config.train.amp == "bf16" and ranks.device.type == "cuda"
        online = OnlineProbe(net, index.labels, classes=len(index.class_names), ranks=ranks, bf16=bf16)
    return Run(
        config=config,
        ranks=ranks,
        loader=loader,
        net=net,
        model=model,
        optimizer=make_optimizer(net, config.optim),
        identity=fixed,
        classes=classes,
        online=online,
    )


def batch_per_rank(train: Train, world_size: int) -> int:
    """Compute a rank's batch size. UserError if the global batch does not divide evenly."""
    divisor = world_size * train.accumulate
    size, remainder = divmod(train.global_batch, divisor)
    if remainder:
        nearest = max(divisor, round(train.global_batch / divisor) * divisor)
        whole, odd = divmod(train.global_batch, train.accumulate)
        fitting = [] if odd else [str(ranks) for ranks in range(1, whole + 1) if whole % ranks == 0]
        kept = f". A resumed run keeps its batch; numbers of ranks that fit: {', '.join(fitting)}" * bool(fitting)
        raise UserError(
            f"train.global_batch = {train.global_batch} is not divisible by {counted(world_size, 'rank')} x "
            f"{counted(train.accumulate, 'micro-step')} (train.accumulate); the nearest multiple is {nearest}{kept}"
        )
    return size


def wrap(net: Pretext, train: Train, ranks: Ranks) -> tuple[Pretext, nn.Module]:
    """Move the network to the device; return it, whose state is saved, and a wrapped one, which is called.

    It is wrapped as the recipe asks and the device allows.
    """
    if train.sync_bn and ranks.world_size > 1 and ranks.device.type == "cuda":
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    net.to(ranks.device)
    if train.channels_last:
        for parameter in net.parameters():  # `net.to` would fail if the network also has 2-D convolutions
            if parameter.ndim == 5:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    if train.compile:
        _require_compiler(ranks.device)
    model: nn.Module = torch.compile(net) if train.compile else net  # type: ignore[assignment]
    if ranks.world_size > 1:
        # A 1x1x1 kernel has the same memory order with several strides; DDP takes these for different orders.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        # Batch norm buffers are not broadcast: SyncBN keeps them equal, and nothing reads them in training.
        ids = [ranks.device.index] if ranks.device.type == "cuda" else None
        model = nn.parallel.DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
    return net, model


def _require_compiler(device: torch.device) -> None:
    """Raise UserError if torch.compile would find no compiler, which it says in a page at the first step."""
    variable, *names = COMPILERS[device.type]
    wanted = [os.environ[variable]] if os.environ.get(variable) else names
    if not any(map(shutil.which, wanted)):
        raise UserError(
            f"train.compile needs a compiler, and there is no {' or '.join(wanted)}: install one, name it in the "
            f"environment variable {variable}, or set train.compile=false"
        )


def ignored_options(train: Train, ranks: Ranks) -> list[str]:
    """List the recipe's options that this device ignores, one sentence each."""
    if ranks.device.type == "cuda":
        return []
    notes = []
    if train.sync_bn and ranks.world_size > 1:
        notes.append("train.sync_bn needs CUDA: each rank has its own batch norm statistics here")
    if train.amp != "off":
        notes.append(f"train.amp = {train.amp} needs CUDA: float32 is used here")
    return notes
