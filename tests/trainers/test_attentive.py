"""The attentive classifier: comparison with nn.MultiheadAttention, accuracy, and reproducibility from a seed."""

import pytest
import torch
from torch import nn

from dali_pipelines import progress
from trainers.evaluation import attentive, linear
from trainers.evaluation.attentive import AttentiveClassifier, fit
from trainers.evaluation.features import Features

CPU = torch.device("cpu")


def hidden(count: int, *, classes: int = 3, seed: int = 0, strength: float = 6.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Make noise tokens (N, 8, 16), float16, in which one marked token per sample encodes the class, and labels.

    The mean over tokens hardly shows the class, because noise is as large in the same channels.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    tokens = torch.randn(count, 8, 16, generator=generator)
    tokens[..., :classes] *= strength / 2
    place = torch.randint(8, (count,), generator=generator)
    tokens[torch.arange(count), place, 15] += 10
    tokens[torch.arange(count), place, :classes] = strength * nn.functional.one_hot(labels, classes).float()
    return tokens.half(), labels


def features_of(values: torch.Tensor, labels: torch.Tensor) -> Features:
    return Features([f"v{row}" for row in range(len(labels))], labels.numpy(), values.numpy(), {})


@pytest.fixture(autouse=True)
def shorten_search(monkeypatch):
    """Try one setting, for fewer steps."""
    monkeypatch.setattr(attentive, "SETTINGS", ((3e-3, 0.01),))
    monkeypatch.setattr(attentive, "MIN_STEPS", 60)


@pytest.mark.parametrize("channels", [32, 6])
def test_attention_matches_torchs_multihead_attention(channels):
    """Our query is torch's projected query times its key projection; the key bias changes no attention weight."""
    torch.manual_seed(0)
    ours = AttentiveClassifier(channels, 3)
    theirs = nn.MultiheadAttention(channels, ours.heads, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    query = torch.randn(1, 1, channels)
    to_query, to_key, to_value = theirs.in_proj_weight.detach().chunk(3)
    query_bias, _, value_bias = theirs.in_proj_bias.detach().chunk(3)
    width = channels // ours.heads
    query_in_key_space = (to_query @ query[0, 0] + query_bias).view(ours.heads, width, 1)
    folded = (query_in_key_space * to_key.view(ours.heads, width, channels)).sum(1) / width**0.5
    state = {"query": folded, "value.weight": to_value, "value.bias": value_bias}
    state |= {f"projection.{name}": value for name, value in theirs.out_proj.state_dict().items()}
    ours.load_state_dict(state, strict=False)
    tokens = torch.randn(5, 7, channels)
    expected, _ = theirs(query.expand(5, 1, channels), tokens, tokens)
    torch.testing.assert_close(ours.attend(tokens), expected[:, 0])


@pytest.mark.slow
def test_the_probe_finds_a_class_token_lost_in_the_mean(monkeypatch):
    monkeypatch.setattr(attentive, "MIN_STEPS", 300)
    x, y = hidden(400)
    test_x, test_y = hidden(200, seed=1)
    attended = float((fit(x, y, classes=3)(test_x) == test_y).float().mean())
    averaged = linear.fit(x.float().mean(1), y, classes=3)(test_x.float().mean(1))
    assert attended > 0.9 > 0.75 > float((averaged == test_y).float().mean())


def test_noise_is_classified_at_chance():
    x = torch.randn(300, 4, 8, generator=torch.Generator().manual_seed(0)).half()
    y = torch.arange(300) % 4
    found = int((fit(x[:150], y[:150], classes=4)(x[150:]) == y[150:]).sum())
    assert 11 < found < 64  # 37.5 expected, 5 standard deviations


def test_channel_scale_and_offset_do_not_matter():
    x, y = hidden(100)
    scale, offset = torch.linspace(0.1, 30, 16), torch.linspace(-50, 50, 16)
    moved = x.float() * scale + offset
    found, again = fit(x.float(), y, classes=3), fit(moved, y, classes=3)
    assert (found(x.float()) == again(moved)).float().mean() > 0.97


def test_fit_depends_only_on_its_seed_and_keeps_the_global_generator():
    x, y = hidden(60)
    others, _ = hidden(100, seed=1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fit(x, y, classes=3)(others)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert torch.equal(fit(x, y, classes=3)(others), first)


def test_settings_are_chosen_on_a_fifth_of_the_training_videos(monkeypatch):
    y = torch.arange(50) % 3
    x = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0)) + 3 * nn.functional.one_hot(y, 8)[:, None]
    fitted = list[int]()
    real = torch.optim.AdamW.__init__

    def noting(self, *args, **options):
        fitted.append(options["lr"])
        real(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", noting)
    monkeypatch.setattr(attentive, "SETTINGS", ((1e-9, 0.0), (3e-3, 0.01), (1e-9, 1.0)))
    classify = fit(x, y, classes=3)
    assert fitted == [1e-9, 3e-3, 1e-9, 3e-3]
    held_out = linear.held_out_fifth(50)
    assert held_out.sum() == 10
    assert (classify(x) == y).float().mean() > 0.9  # the last fit, on all 50


@pytest.mark.parametrize("labels", [[2], [1, 1], [0, 2, 0]])
def test_few_samples_are_enough_to_fit(labels):
    x = torch.randn(len(labels), 3, 8, generator=torch.Generator().manual_seed(0))
    found = fit(x, torch.tensor(labels), classes=4)(torch.randn(20, 5, 8))
    assert set(found.tolist()) <= set(labels)


def test_each_fit_shows_its_progress(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    x, y = hidden(60)
    fit(x, y, classes=3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 60  # the only setting, then all videos: 60 epochs of one batch each
    assert lines[-1].startswith("attentive probe, lr 0.003, weight decay 0.01 60/60, 00:0")
