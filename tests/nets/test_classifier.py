"""The classifier of 3D-RotNet and SpeedNet, against the figures of the originals."""

import math

import pytest
import torch

from configs.errors import UserError
from dali_pipelines.tasks import task_module
from dali_pipelines.tasks.speednet import SPEEDS
from nets.classifier import Classifier, Config
from nets.tasks import build_task
from tests.helpers.originals import shapes_of
from tests.helpers.training import count, train_on

CLASSES = {"rot3d": 4, "speednet": len(SPEEDS)}


def make(task: str, backbone: str = "r3d_tiny", dropout: float = 0.5) -> Classifier:
    torch.manual_seed(0)
    schema = task_module(task).batch_schema(task_module(task).Config())
    net = build_task(task, backbone, schema, Config(dropout=dropout))
    assert isinstance(net, Classifier)
    return net


def batch() -> dict[str, torch.Tensor]:
    clips = torch.randn(6, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"clips": clips, "labels": torch.tensor([0, 3, 1, 1, 2, 0])}


@pytest.mark.parametrize("task", CLASSES)
def test_parameter_counts_match_the_original(task):
    with torch.device("meta"):
        model = make(task, "r3d18")
    assert count(model) == 33_166_272 + 513 * CLASSES[task]
    assert [list(value.shape) for value in model.state_dict().values()] == list(shapes_of(f"ctp__{task}").values())


@pytest.mark.parametrize("task", CLASSES)
@pytest.mark.parametrize("options", [{"rand_augment": (2, 9)}, {"erase_prob": 0.5}, {"mixup": 0.8}, {"cutmix": 1.0}])
def test_finetuning_options_are_refused(task, options):
    (key,) = options
    with pytest.raises(UserError, match=f"^net.{key} is for clipfeed finetune; a pretext task has its own"):
        build_task(task, "r3d_tiny", {}, Config(**options))


@pytest.mark.parametrize("task", CLASSES)
def test_an_untrained_network_is_at_chance(task):
    model = make(task)
    assert model.linear.weight.std().item() == pytest.approx(0.001, rel=0.2)
    result = model(batch())
    assert result["loss"].item() == pytest.approx(math.log(CLASSES[task]), abs=0.02)
    assert result["chance"].item() == pytest.approx(1 / CLASSES[task])


def test_logits_are_a_linear_map_of_the_mean_feature():
    model = make("rot3d").eval()
    features = model.backbone(batch()["clips"]).detach().numpy()
    mean = features.reshape(6, 64, -1).sum(-1) / features[0, 0].size
    expected = mean @ model.linear.weight.detach().numpy().T + model.linear.bias.detach().numpy()
    torch.testing.assert_close(model.logits(batch()["clips"]).detach(), torch.from_numpy(expected))


def test_loss_and_accuracy_follow_from_the_logits(monkeypatch):
    model = make("rot3d")
    logits = torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 2], [2, 0, 0, 0], [0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 2]])
    monkeypatch.setattr(model, "logits", lambda clips: logits)
    result = model(batch())  # three of six labels have the top logit
    assert result["accuracy"].item() == 0.5
    log_sum = math.log(math.exp(2) + 3)
    assert result["loss"].item() == pytest.approx((3 * (log_sum - 2) + 3 * log_sum) / 6)


def test_dropout_acts_on_pooled_features_in_training_only():
    model = make("rot3d", dropout=0.5)
    seen = []
    model.dropout.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(batch())
    model.eval()(batch())
    pooled, dropped, pooled_after, kept_after = seen
    assert pooled.shape == (6, 64)
    kept = dropped == 2 * pooled
    assert (kept | (dropped == 0)).all()
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(kept_after, pooled_after)


def test_a_few_steps_fit_one_batch():
    model = make("rot3d")
    train_on(batch(), model, steps=40)
    assert model.eval()(batch())["accuracy"] == 1


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_impossible_dropout_is_refused(dropout):
    with pytest.raises(ValueError, match=rf"dropout = {dropout} must be at least 0 and below 1"):
        Config(dropout=dropout)
