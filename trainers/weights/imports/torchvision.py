"""torchvision's video ResNets, r3d_18 and r2plus1d_18, with their classifier of Kinetics-400."""

from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, Rule, renamed

RULES: tuple[Rule, ...] = (
    (r"(?:stem|layer[1-4])\..*", r"backbone.\g<0>", ""),
    (r"fc\.(weight|bias)", r"linear.\1", ""),
)


def convert(state: Mapping[str, Tensor]) -> Imported:
    """See `trainers.weights.imports.Convert`."""
    used, left = renamed(state, RULES)
    if "fc.weight" not in state:
        raise UserError("not a video ResNet of torchvision, which has the key fc.weight")
    factorised = "layer1.0.conv1.0.0.weight" in state
    changes = ("backbone=torchvision_r2plus1d18",) if factorised else ()
    model = {ours: state[key] for key, ours in used.items()}
    return Imported("recognition/torchvision_r3d18_kinetics.yaml", model, used, left, changes)
