"""Checkpoints of Static and Dynamic Concepts: pretraining with its R(2+1)D-10 (specs/concepts.md 3)."""

from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, renamed, rules

TABLE = rules("""
    backbone.fc -- a classifier that the original never uses
    backbone.stem
    backbone.layer{i:1-4}.0
    fvv -> instance.rgb
    fvs -> instance.rgb_static
    fvd -> instance.rgb_difference
    fsv -> instance.static
    fdv -> instance.difference
    fv -> to_concepts.rgb
    fs -> to_concepts.static
    fd -> to_concepts.difference
    gv -> rebuild.rgb
    gs -> rebuild.static
    gd -> rebuild.difference
    prototype.weight -> banks.rgb
    prototype_s.weight -> banks.static
    prototype_d.weight -> banks.difference
    lit -> attention
    queue
""")

AS_TRAINED = ("net.reference.wrapped_difference=true", "plan.reference.gray_per_frame=true")
"""Settings that are fixed in the original (specs/concepts.md 8)."""


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Copy all tensors unchanged; the banks keep the norms that the last step left (3.3)."""
    for key, axes in {"prototype.weight": 2, "queue": 3}.items():
        if key not in state or state[key].ndim != axes:
            found = f"{key} of shape {tuple(state[key].shape)}" if key in state else f"no {key}"
            raise UserError(f"the checkpoint has {found}, and Concepts one of {axes} axes: choose another --from")
    model, used, left = renamed(state, TABLE)
    concepts, queued = len(state["prototype.weight"]) // 2, len(state["queue"])
    recipe = f"concepts/r2plus1d10_{'ucf101' if concepts == 50 else 'kinetics'}.yaml"
    changes = (f"net.concepts={concepts}", f"net.queue_size={queued}", *AS_TRAINED)
    return Imported(recipe, model, used, left, changes)
