"""3D-RotNet: classify the rotation of a clip, a multiple of 90 degrees.

Jing et al., "Self-Supervised Spatiotemporal Feature Learning via Video Rotation Prediction", arXiv 1811.11387; numbers
are those of CtP's baseline (specs/ctp.md 1.4).
"""

from nets import backbones
from nets.classifier import Classifier, Config
from nets.tasks import Schema

METRIC = "accuracy"
CLASSES = 4


def build(backbone: str, schema: Schema, cfg: Config) -> Classifier:
    """Build the network; UserError for an unknown backbone."""
    return Classifier(backbones.create(backbone), CLASSES, cfg)
