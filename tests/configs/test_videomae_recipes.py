"""The finetuning recipes of VideoMAE against the arguments of its scripts."""

import pytest

from configs.load import load

SCRIPTS = {  # GPUs, videos of each, base rate and minimum for 256 videos, epochs, layer decay, drop path, dropout
    "vit_b16_ucf101": (8, 16, 5e-4, 1e-5, 100, 0.7, 0.2, 0.5),
    "vit_b16_kinetics": (64, 6, 5e-4, 1e-6, 75, 0.75, 0.1, 0.0),
    "vit_s16_kinetics": (32, 12, 5e-4, 1e-6, 150, 0.75, 0.1, 0.0),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_recipes_match_the_original_scripts(name):
    gpus, videos, base, min_lr, epochs, layer_decay, drop_path, dropout = SCRIPTS[name]
    config = load(f"recognition/videomae_{name}")
    batch = gpus * videos
    assert (config.train.global_batch, config.train.epochs) == (batch, epochs)
    assert config.optim.lr == pytest.approx(base * batch / 256)
    assert config.schedule.min_lr == pytest.approx(min_lr * batch / 256)
    assert config.optim.layer_decay == layer_decay
    assert (config.net.drop_path, config.net.dropout) == (drop_path, dropout)


@pytest.mark.parametrize("name", [*SCRIPTS, "vit_b16_hmdb51"])
def test_all_recipes_share_augmentation_and_weight_decay(name):
    config = load(f"recognition/videomae_{name}")
    net, plan, optim = config.net, config.plan, config.optim
    assert (net.mixup, net.cutmix, net.label_smoothing, net.erase_prob, net.layer_norm) == (0.8, 1.0, 0.1, 0.25, True)
    assert (plan.repeats, plan.num_frames, plan.size, plan.area) == (2, 16, 224, (0.08, 1.0))
    assert (optim.name, optim.weight_decay, optim.decay_norms_and_biases) == ("adamw", 0.05, False)
