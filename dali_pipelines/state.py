"""The state of a ClipLoader: the epoch and step of its next batch, and the settings that they depend on."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.plan.order import Order


def state_of(order: Order, step: int) -> dict[str, int]:
    """Return the state at a step, which counts from the start of epoch 0."""
    epoch, of_epoch = order.at(step)
    settings = {"videos": order.count, "seed": order.seed, "global_batch": order.global_batch}
    return {"epoch": epoch, "step": of_epoch, **settings}


def step_of(state: Mapping[str, Any], order: Order) -> int:
    """Return the step of a state.

    UserError if it is one of another dataset size, seed or global batch, or none of `state_of`.
    """
    for name in (here := state_of(order, 0)):
        if not isinstance(state, Mapping) or name not in state:
            raise _no_state(f"no {name}")
        if not isinstance(state[name], Integral) or state[name] < 0:
            raise _no_state(f"{name} {state[name]!r}, not a whole number from 0 on")
    for name in ("videos", "seed", "global_batch"):
        if state[name] != here[name]:
            raise UserError(f"cannot resume: the checkpoint has {name} {state[name]}, this run {here[name]}")
    if state["step"] >= order.steps:
        raise _no_state(f"step {state['step']}, but an epoch has {counted(order.steps, 'batch', 'batches')} here")
    return int(state["epoch"]) * order.steps + int(state["step"])


def _no_state(has: str) -> UserError:
    return UserError(f"cannot resume: the state has {has}: pass what state_dict() of a ClipLoader returned")
