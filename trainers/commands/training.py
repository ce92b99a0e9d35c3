"""Shared by `pretrain` and `finetune`: start the ranks, then train or do a dry run."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from configs.schema import Config
from trainers.engine.build import ignored_options
from trainers.engine.distributed import Ranks, exit_status, start
from trainers.engine.fit import dry_run, fit
from trainers.engine.loop import Ending
from trainers.engine.run import Run

Recipe = TypeVar("Recipe", bound=Config)


def on_ranks(
    config: Recipe, args: argparse.Namespace, work: Callable[[Recipe, Ranks, argparse.Namespace], Ending]
) -> int:
    """Call `work` on all ranks, print how it ended, and return the exit status.

    `work` is a separate function so that its network is freed before `start` destroys the process group. If DDP held
    the last reference to the group, it would free it under the GIL while gloo's thread waits for the GIL: a deadlock.
    """
    with start(args.device) as ranks:
        ranks.note(ignored_options(config.train, ranks))
        ending = work(config, ranks, args)
        ranks.tell(ending.words)
    return exit_status(128 + ending.signal if ending.signal else 0)


def train(
    run: Run, args: argparse.Namespace, *, missing: Sequence[str], next_steps: Callable[[], Sequence[str]]
) -> Ending:
    """Train according to the options, or do a dry run; see `fit`."""
    if args.dry_run:
        return dry_run(run)
    return fit(run, resume_from=args.resume, max_steps=args.max_steps, missing=missing, next_steps=next_steps)
