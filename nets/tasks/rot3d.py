"""3D-RotNet: classify the rotation of a clip, a multiple of 90 degrees.

Jing et al., "Self-Supervised Spatiotemporal Feature Learning via Video Rotation Prediction", arXiv 1811.11387; numbers
are those of CtP's baseline (specs/ctp.md 1.4).
"""

from nets.classifier import Classifier, Config, pretext_classifier
from nets.tasks import Schema

METRIC = "accuracy"
CLASSES = 4


def build(backbone: str, schema: Schema, cfg: Config) -> Classifier:
    """Build the network; UserError as `pretext_classifier` raises it."""
    return pretext_classifier(backbone, CLASSES, cfg)
