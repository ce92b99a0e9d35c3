"""Settings for speed of any recipe: `--config ctp/r3d18_ucf101+speed`. The recipe itself stays like the original."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from configs.schema import Config

SUFFIX = "+speed"
GLOBAL_BATCH = 256
"""32 clips on each of 8 GPUs; with fewer, a GPU waits for kernels to start."""
WORKERS = 8
ADAPTIVE = ("adam", "adamw")


def speed_settings(config: "Config") -> Mapping[str, str]:
    """Return what changes in a recipe: dotted key -> YAML value.

    bf16, more clips per step, more workers, and a separate work dir. The learning rate scales with the clips per step:
    in proportion or, with an adaptive optimizer, by the square root. Nobody has completed a training run with these
    settings.
    """
    factor = max(1.0, GLOBAL_BATCH / config.train.global_batch)
    rate = config.optim.lr * (math.sqrt(factor) if config.optim.name in ADAPTIVE else factor)
    return {
        "train.amp": "bf16",
        "train.global_batch": str(max(GLOBAL_BATCH, config.train.global_batch)),
        "optim.lr": f"{rate:.6g}",
        "data.workers": str(max(WORKERS, config.data.workers)),
        "work_dir": json.dumps(f"{config.work_dir}_speed"),
    }
