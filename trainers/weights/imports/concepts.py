"""Checkpoints of Static and Dynamic Concepts: pretraining with its R(2+1)D-10 (specs/concepts.md 3)."""

from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, Rule, renamed

HEADS = {
    "fvv": "instance.rgb",
    "fvs": "instance.rgb_static",
    "fvd": "instance.rgb_difference",
    "fsv": "instance.static",
    "fdv": "instance.difference",
    "fv": "to_concepts.rgb",
    "fs": "to_concepts.static",
    "fd": "to_concepts.difference",
    "gv": "rebuild.rgb",
    "gs": "rebuild.static",
    "gd": "rebuild.difference",
}
UNITS = r"stem\.[0134]|layer[1-4]\.0\.(?:conv[12]\.(?:0\.[013]|1)|downsample\.[01])"

RULES: tuple[Rule, ...] = (
    (rf"(backbone\.(?:{UNITS})\.\w+)", r"\1", ""),
    (r"backbone\.fc\.\w+", None, "a classifier that the original never uses"),
    *((rf"{theirs}\.(\d\.\w+)", rf"{ours}.\1", "") for theirs, ours in HEADS.items()),
    (r"prototype\.weight", "banks.rgb", ""),
    (r"prototype_s\.weight", "banks.static", ""),
    (r"prototype_d\.weight", "banks.difference", ""),
    (r"lit\.((?:project_|norm_)\w+\.\w+|mlp\.\d\.\w+)", r"attention.\1", ""),
    (r"(queue)", r"\1", ""),
)

AS_TRAINED = ("net.reference.wrapped_difference=true", "plan.reference.gray_per_frame=true")
"""What the original cannot do otherwise (specs/concepts.md 8)."""


def convert(state: Mapping[str, Tensor]) -> Imported:
    """All tensors arrive as they are, the banks with the lengths that the last step left them (3.3).

    The numbers of concepts and of queued samples are those of the banks and of the queue. UserError for keys that no
    rule explains, and for a checkpoint of something else.
    """
    for key, axes in {"prototype.weight": 2, "queue": 3}.items():
        if key not in state or state[key].ndim != axes:
            found = f"{key} of shape {tuple(state[key].shape)}" if key in state else f"no {key}"
            raise UserError(f"the checkpoint has {found}, and Concepts one of {axes} axes: choose another --from")
    used, left = renamed(state, RULES)
    concepts, queued = len(state["prototype.weight"]) // 2, len(state["queue"])
    return Imported(
        recipe=f"concepts/r2plus1d10_{'ucf101' if concepts == 50 else 'kinetics'}.yaml",
        model={ours: state[theirs] for theirs, ours in used.items()},
        used=used,
        left=left,
        changes=(f"net.concepts={concepts}", f"net.queue_size={queued}", *AS_TRAINED),
    )
