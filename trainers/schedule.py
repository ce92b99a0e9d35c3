"""The learning rate of a step as a pure function: nothing to save, nothing to restore.

Semantics are those of the original's framework (CtP's configs run on mmcv, spec ctp.md 4).
"""

import math

from configs.schema import Schedule


def lr_at(schedule: Schedule, base_lr: float, *, step: int, epoch: int, total_steps: int, epochs: int) -> float:
    """Learning rate of one optimizer step.

    Args:
        base_lr: rate of the recipe.
        step: optimizer steps done before this one, from 0.
        epoch: epoch that the step begins in, from 0.
        total_steps, epochs: the run's length.
    """
    now, end = (epoch, epochs) if schedule.by == "epoch" else (step, total_steps)
    if schedule.kind == "step":
        factor = schedule.gamma ** sum(milestone <= now for milestone in schedule.milestones)
    elif schedule.kind == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * now / end))
    else:
        factor = 1.0
    if step < schedule.warmup_iters:
        factor *= 1 - (1 - step / schedule.warmup_iters) * (1 - schedule.warmup_ratio)
    return base_lr * factor
