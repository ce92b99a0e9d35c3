"""Batch augmentation: blends and boxes by their definitions, RandAugment against PIL with the same draws."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from configs.errors import UserError
from nets.batch_augment import BatchAugment, Erase, Mix, Normalization, RandAug
from nets.classifier import Config

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LABELS = torch.tensor([2, 0, 1, 2])


def shape(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1, 1)


def normalized(pixels: Tensor, normalization: Normalization = IMAGENET) -> Tensor:
    return (pixels.float() / 255 - shape(tuple(normalization[0]))) / shape(tuple(normalization[1]))


def pixels(count: int = 4, frames: int = 3, side: int = 32) -> Tensor:
    """Make smooth uint8 clips, for which two interpolations agree."""
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(side), torch.arange(side), indexing="ij")
    waves = [torch.sin(x / (7 + b) + c) + torch.cos(y / 9 + t / 5 + b) for b in range(count) for c in range(3)]
    return (127 + 50 * torch.stack(waves)).to(torch.uint8).unflatten(0, (count, 3))


def one_hot(labels: Tensor) -> Tensor:
    return torch.eye(3)[labels]


def test_mixup_blends_clips_and_labels_alike():
    clips = torch.randn(4, 3, 2, 8, 8)
    before = clips.clone()
    mixed, shares = Mix(mixup=0.8, cutmix=0.0, classes=3)(clips, LABELS)
    other = torch.tensor([3, 0, 1, 2])
    kept = ((mixed - before[other]) / (before - before[other])).median()
    assert 0 < kept < 1
    torch.testing.assert_close(mixed, kept * before + (1 - kept) * before[other], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shares, kept * one_hot(LABELS) + (1 - kept) * one_hot(LABELS[other]))
    assert torch.equal(clips, before)


def test_mixup_shares_follow_the_beta_distribution():
    """Beta(a, a) has a mean of 1/2 and a variance of 1 / (4 (2 a + 1))."""
    mix, clips = Mix(mixup=0.8, cutmix=0.0, classes=3), torch.randn(2, 3, 1, 2, 2)
    kept = torch.stack([mix(clips, torch.tensor([0, 1]))[1][0, 0] for _ in range(2000)])
    assert kept.mean().item() == pytest.approx(0.5, abs=0.03)
    assert kept.var().item() == pytest.approx(1 / (4 * 2.6), abs=0.01)


def test_cutmix_pastes_one_box_in_all_frames_and_mixes_labels_by_area():
    clips = torch.randn(4, 3, 5, 16, 20)
    seen = 0
    for _ in range(10):
        mixed, shares = Mix(mixup=0.0, cutmix=1.0, classes=3)(clips, LABELS)
        pasted = (mixed == clips.roll(1, 0)).all(dim=(0, 1, 2))
        assert torch.equal(mixed, torch.where(pasted, clips.roll(1, 0), clips))
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows[:, None] & columns)
        share = 1 - pasted.float().mean()
        torch.testing.assert_close(shares, share * one_hot(LABELS) + (1 - share) * one_hot(LABELS.roll(1)))
        seen += bool(pasted.any())
    assert seen > 5


def test_mixup_and_cutmix_each_apply_half_the_time():
    mix, clips = Mix(mixup=1.0, cutmix=1.0, classes=3), torch.randn(2, 3, 1, 6, 6)
    blends = 0
    for _ in range(400):
        mixed, _ = mix(clips, torch.tensor([0, 1]))
        blends += not bool(((mixed == clips) | (mixed == clips.roll(1, 0))).all())
    assert 160 < blends < 240


@pytest.mark.parametrize("normalization", [IMAGENET, ((0.5,) * 3, (0.5,) * 3)])
def test_rand_augment_with_identity_changes_nothing(normalization):
    augment = RandAug(2, 9, normalization)
    augment.draw._AUGMENTATION_SPACE = {"Identity": (lambda *_: None, False)}
    clips = normalized(
        torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16).expand(2, 3, 2, 16, 16), normalization
    )
    torch.testing.assert_close(augment(clips), clips)


def test_rand_augment_matches_torchvision_on_every_frame():
    before = pixels(count=12)
    state = torch.random.get_rng_state()
    after = RandAug(2, 21, IMAGENET)(normalized(before))
    theirs = v2.RandAugment(2, 21, interpolation=InterpolationMode.BILINEAR, fill=128)
    changed = 0
    for clip, result in zip(before, after, strict=True):
        frames = []
        for frame in clip.movedim(1, 0):
            torch.random.set_rng_state(state)
            frames.append(pil_to_tensor(theirs(to_pil_image(frame))))
        state = torch.random.get_rng_state()
        expected = torch.stack(frames, 1)
        difference = ((result * shape(IMAGENET[1]) + shape(IMAGENET[0])) * 255 - expected).abs()
        assert difference.median() < 1.5
        assert (difference > 8).float().mean() < 0.1  # borders of rotated frames
        changed += not torch.equal(expected, clip)
    assert changed > 8


def test_erase_fills_a_box_with_noise_per_frame():
    clips = torch.full((400, 3, 2, 24, 24), 9.0)
    erased = Erase(0.25)(clips)
    changed = erased != clips
    erased_clips = changed.flatten(1).any(1)
    assert 70 < erased_clips.sum() < 130
    for mask in changed[erased_clips]:
        box = mask[0, 0]
        assert (mask == box).all()
        assert torch.equal(box, box.any(1)[:, None] & box.any(0))
        assert 0.01 < box.float().mean() < 0.36
    noise = erased[changed]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    first = erased[erased_clips][0].flatten(0, 1)[:, changed[erased_clips][0, 0, 0]]
    assert len({row.numpy().tobytes() for row in first}) == 6


def make(normalization: Normalization | None = IMAGENET, **parts: Any) -> BatchAugment:
    return BatchAugment(Config(**parts), classes=3, normalization=normalization)


def test_augmentation_depends_only_on_torchs_seed():
    augment, clips = make(rand_augment=(2, 21), erase_prob=0.5, mixup=0.8, cutmix=1.0), normalized(pixels())
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augment(clips, LABELS)[0])
        np.random.rand()
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_autocast_changes_no_pixel():
    augment, clips = make(rand_augment=(6, 21)), normalized(pixels())
    torch.manual_seed(0)
    expected, _ = augment(clips, LABELS)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(clips, LABELS)[0], expected)


def test_augmentation_has_no_state_and_is_off_by_default():
    assert not make(rand_augment=(2, 9), erase_prob=0.5, mixup=1.0).state_dict()
    clips = normalized(pixels())
    same, shares = make()(clips, LABELS)
    assert same is clips
    assert shares is None


def test_rand_augment_without_a_normalization_is_refused():
    with pytest.raises(UserError, match=r"net.rand_augment is for clipfeed finetune; a pretext task has its own"):
        make(None, rand_augment=(2, 9))(normalized(pixels()), LABELS)
