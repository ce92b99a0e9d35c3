"""The learning rate of a step as a pure function, without state to save.

The definitions are those of mmcv, the framework of CtP's code (specs/ctp.md 4).
"""

import math

from configs.optim import Schedule


def lr_at(schedule: Schedule, base_lr: float, *, step: int, epoch: int, total_steps: int, epochs: int) -> float:
    """Return the learning rate of one optimizer step; `step` and `epoch`, in which it begins, count from 0."""
    now, end = (epoch, epochs) if schedule.by == "epoch" else (step, total_steps)
    if schedule.kind == "step":
        factor = schedule.gamma ** sum(milestone <= now for milestone in schedule.milestones)
    elif schedule.kind == "cosine":
        factor = half_wave(now / end)
    elif schedule.kind == "warmup_cosine":
        warmup = 0.5 if schedule.warmup_epochs is None else schedule.warmup_epochs / epochs
        floor, done = schedule.min_lr / base_lr, now / end
        wave = done / warmup if done < warmup else half_wave((done - warmup) / (1 - warmup))
        factor = floor + (1 - floor) * wave
    else:  # constant, or plateau, which lowers base_lr
        factor = 1.0
    if step < schedule.warmup_iters:
        factor *= 1 - (1 - step / schedule.warmup_iters) * (1 - schedule.warmup_ratio)
    return base_lr * factor


def half_wave(done: float) -> float:
    """Fall along a cosine from 1 at `done` = 0 to 0 at `done` = 1."""
    return 0.5 * (1 + math.cos(math.pi * done))
