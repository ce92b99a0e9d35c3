"""The classifier's options for vision transformers: norm, stochastic depth, soft labels, repeated clips."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import StochasticDepth

from configs.errors import UserError
from nets import backbones
from nets.backbones.vit import ViT
from nets.classifier import Classifier, Config
from nets.losses import classification

LABELS = torch.tensor([0, 2, 1, 2])


def clips(*shape: int) -> Tensor:
    return torch.randn(*shape, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))


def make(**more: object) -> Classifier:
    torch.manual_seed(0)
    return Classifier(ViT(width=8, depth=3, heads=2), 3, Config(dropout=0.0, init_std=0.5, **more))  # type: ignore[arg-type]


def test_layer_norm_applies_to_the_mean_feature():
    model = make(layer_norm=True)
    torch.nn.init.normal_(model.norm.weight)  # type: ignore[arg-type]
    features = model.backbone(clips(4)).mean(dim=(2, 3, 4)).detach().double().numpy()
    weight, bias = (parameter.detach().numpy() for parameter in model.norm.parameters())
    spread = np.sqrt(features.var(1, keepdims=True) + 1e-6)
    normed = (features - features.mean(1, keepdims=True)) / spread * weight + bias
    expected = normed @ model.linear.weight.detach().numpy().T + model.linear.bias.detach().numpy()
    np.testing.assert_allclose(model.logits(clips(4)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_drop_path_reaches_the_blocks_and_is_off_in_eval():
    model = make(drop_path=0.5)
    rates = [branch.p for branch in model.backbone.modules() if isinstance(branch, StochasticDepth)]
    assert rates == [0, 0, 0.25, 0.25, 0.5, 0.5]
    assert not torch.equal(model.logits(clips(4)), model.logits(clips(4)))
    model.eval()
    assert torch.equal(model.logits(clips(4)), make().eval().logits(clips(4)))


def test_a_backbone_without_stochastic_depth_is_refused_by_name():
    with pytest.raises(UserError, match=r"net.drop_path = 0.2: ResNet3d has no stochastic depth; set it to 0"):
        Classifier(backbones.create("r3d_tiny"), 3, Config(drop_path=0.2))


def test_loss_of_smoothed_and_mixed_labels_matches_float64():
    """Against cross-entropy in float64; smoothing spreads what it takes equally over all classes."""
    logits = torch.randn(4, 3)
    log_probs = logits.double() - logits.double().exp().sum(1, keepdim=True).log()
    shares = torch.tensor([[1.0, 0, 0], [0, 0.25, 0.75], [0.5, 0.5, 0], [0, 0, 1]])
    for mixed, smoothing in ((None, 0.1), (shares, 0.0), (shares, 0.1)):
        target = (torch.eye(3)[LABELS] if mixed is None else mixed).double() * (1 - smoothing) + smoothing / 3
        result = classification(logits, LABELS, mixed, smoothing=smoothing)
        assert result["loss"].item() == pytest.approx(-(target * log_probs).sum(1).mean().item(), rel=1e-5)
        assert result["accuracy"] == (logits.argmax(1) == LABELS).float().mean()


def test_loss_uses_mixed_labels_and_accuracy_the_true_ones(monkeypatch):
    model, batch = make(mixup=0.8, label_smoothing=0.1), {"clips": clips(4), "labels": LABELS}
    assert model.augment is not None
    mixed, shares = clips(4) / 2, torch.full((4, 3), 1 / 3)
    monkeypatch.setattr(model.augment, "forward", lambda *_: (mixed, shares))
    expected = classification(model.logits(mixed), LABELS, shares, smoothing=0.1)
    assert {name: value.item() for name, value in model(batch).items()} == {
        name: value.item() for name, value in expected.items()
    }
    untouched = classification(model.eval().logits(clips(4)), LABELS, smoothing=0.1)
    assert model(batch)["loss"] == untouched["loss"]


def test_repeated_clips_are_never_mixed_with_their_own_video(monkeypatch):
    model, batch = make(mixup=0.8), {"clips": clips(4, 2), "labels": LABELS}
    assert model.augment is not None
    seen: list[Tensor] = []

    def look(clips_BCTHW: Tensor, labels_B: Tensor) -> tuple[Tensor, None]:
        seen.extend([clips_BCTHW, labels_B])
        return clips_BCTHW, None

    monkeypatch.setattr(model.augment, "forward", look)
    repeated = model(batch)
    alone = model({"clips": clips(4, 2).flatten(0, 1), "labels": LABELS.repeat_interleave(2)})
    for name in ("loss", "accuracy"):
        torch.testing.assert_close(repeated[name], alone[name])
    videos = [int((clips(4, 2) == clip).flatten(2).all(2).any(1).nonzero()) for clip in seen[0]]
    assert sorted(videos) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert LABELS[videos].tolist() == seen[1].tolist()
    assert all(video != before for video, before in zip(videos, [videos[-1], *videos], strict=False))


def test_mixing_a_lone_video_is_refused():
    with pytest.raises(UserError, match=r"net.mixup or net.cutmix needs at least 2 videos in each batch of a rank"):
        make(cutmix=1.0).check_batch(1, 8)
    make(cutmix=1.0).check_batch(2, 8)


def test_augmentation_is_absent_by_default():
    model = make()
    assert model.augment is None
    assert list(model.state_dict()) == list(make(mixup=0.8, rand_augment=(2, 9), erase_prob=0.2).state_dict())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"mixup": -1.0}, "mixup = -1.0 must be 0 or more"),
        ({"drop_path": 1.0}, "drop_path = 1.0 must be at least 0 and below 1"),
        ({"label_smoothing": 1.0}, "label_smoothing = 1.0 must be at least 0 and below 1"),
        ({"erase_prob": 2.0}, "erase_prob = 2.0 must be from 0 to 1"),
        ({"rand_augment": (2, 31)}, r"rand_augment = \[2, 31\] must be \[operations, magnitude\], at least 1 and 0 to"),
        ({"batch_norm": True, "layer_norm": True}, "layer_norm = True must be false where batch_norm is true"),
    ],
)
def test_impossible_settings_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        Config(**more)
