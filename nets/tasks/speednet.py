"""SpeedNet of CtP's baselines: classify the playback speed of a clip, and its direction.

After Benaim et al., "SpeedNet: Learning the Speediness in Videos", CVPR 2020, arXiv 2004.06130, which distinguishes
two speeds; numbers are those of CtP's baseline (specs/ctp.md 1.5).
"""

from nets.classifier import Classifier, Config, pretext_classifier
from nets.tasks import Schema

METRIC = "accuracy"
CLASSES = 7  # speeds -4, -2, -1, 0, 1, 2, 4


def build(backbone: str, schema: Schema, cfg: Config) -> Classifier:
    """Build the network; UserError as `pretext_classifier` raises it."""
    return pretext_classifier(backbone, CLASSES, cfg)
