"""Import of DPC's checkpoints, against its arithmetic on the original keys (specs/cpc_transformer.md 9).

Keys and shapes are built from the published code: a 2D3D-ResNet of basic blocks, a recurrent unit stored under two
names, and two 1x1 convolutions. Only one of its checkpoints has batch norm statistics.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from configs.errors import UserError
from nets import backbones
from tests.helpers.dpc_original import contrast, with_second_names
from tests.helpers.finetuning import RECIPE
from tests.helpers.originals import random_state, state_like
from trainers.commands import finetune, import_checkpoint, test
from trainers.evaluation.video_features import extract_features
from trainers.weights import read
from trainers.weights.export import export
from trainers.weights.imports import dpc, network

WIDTHS = (64, 128, 256, 256)
RESNETS = {"r2d3d18": (2, 2, 2, 2), "r2d3d34": (3, 4, 6, 3)}


def shapes(blocks, *, statistics):
    """Return key -> shape of the original state dict."""
    found = {}

    def norm(key, channels):
        found.update({f"{key}.weight": [channels], f"{key}.bias": [channels]})
        if statistics:
            found.update({f"{key}.running_mean": [channels], f"{key}.running_var": [channels]})
            found[f"{key}.num_batches_tracked"] = []

    found["backbone.conv1.weight"] = [64, 3, 1, 7, 7]
    norm("backbone.bn1", 64)
    before = 64
    for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
        kernel = [3, 3, 3] if stage > 2 else [1, 3, 3]
        for block in range(count):
            key = f"backbone.layer{stage}.{block}"
            found[f"{key}.conv1.weight"] = [width, before, *kernel]
            norm(f"{key}.bn1", width)
            found[f"{key}.conv2.weight"] = [width, width, *kernel]
            norm(f"{key}.bn2", width)
            if stage > 1 and block == 0:
                found[f"{key}.downsample.0.weight"] = [width, before, 1, 1, 1]
                norm(f"{key}.downsample.1", width)
            before = width
    for name in ("ConvGRUCell_00", "cell_list.0"):
        for gate in ("reset", "update", "out"):
            found |= {f"agg.{name}.{gate}_gate.weight": [256, 512, 1, 1], f"agg.{name}.{gate}_gate.bias": [256]}
    for layer in (0, 2):
        found |= {f"network_pred.{layer}.weight": [256, 256, 1, 1], f"network_pred.{layer}.bias": [256]}
    return found


def original(name="r2d3d18", *, statistics=False):
    return with_second_names(random_state(shapes(RESNETS[name], statistics=statistics)))


@pytest.fixture(scope="module", params=[("r2d3d18", False), ("r2d3d34", True)], ids=["18", "34 with statistics"])
def case(request):
    name, statistics = request.param
    state = original(name, statistics=statistics)
    imported = dpc.convert(state)
    return name, state, imported, network(imported)


@pytest.fixture
def clips():
    return torch.randn(2, 6, 3, 5, 64, 64, generator=torch.Generator().manual_seed(1))


# The original, step by step.


def normed(state, key, x):
    """Apply a batch norm, with batch statistics if the state has none."""
    mean, var = state.get(f"{key}.running_mean"), state.get(f"{key}.running_var")
    return F.batch_norm(x, mean, var, state[f"{key}.weight"], state[f"{key}.bias"], training=mean is None)


def features(state, blocks, x):
    """Apply the backbone: (M, 3, T, H, W) -> (M, 256, ceil(T / 4), H / 32, W / 32), without a final ReLU."""
    x = F.conv3d(x, state["backbone.conv1.weight"], stride=(1, 2, 2), padding=(0, 3, 3))
    x = F.max_pool3d(F.relu(normed(state, "backbone.bn1", x)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, count in enumerate(blocks, start=1):
        padding = (1, 1, 1) if stage > 2 else (0, 1, 1)
        for block in range(count):
            key, stride = f"backbone.layer{stage}.{block}", (1, 1, 1)
            if stage > 1 and block == 0:
                stride = (2, 2, 2) if stage > 2 else (1, 2, 2)
            y = F.conv3d(x, state[f"{key}.conv1.weight"], stride=stride, padding=padding)
            y = F.conv3d(F.relu(normed(state, f"{key}.bn1", y)), state[f"{key}.conv2.weight"], padding=padding)
            y = normed(state, f"{key}.bn2", y)
            if f"{key}.downsample.0.weight" in state:
                x = normed(
                    state, f"{key}.downsample.1", F.conv3d(x, state[f"{key}.downsample.0.weight"], stride=stride)
                )
            x = x + y if (stage, block) == (4, count - 1) else F.relu(x + y)
    return x


@pytest.mark.slow
@torch.no_grad()
def test_imported_networks_match_the_original(case, clips):
    """In eval mode with statistics; without them, the backbone is in train mode, without dropout."""
    name, state, _, net = case
    net.backbone.train("backbone.bn1.running_mean" not in state)
    expected = features(state, RESNETS[name], clips.flatten(0, 1))
    assert expected.shape == (12, 256, 2, 2, 2)
    torch.testing.assert_close(
        net.backbone(clips.flatten(0, 1)), expected, rtol=1e-4, atol=1e-4 * float(expected.std())
    )
    loss, top1 = contrast(state, expected.mean(2).unflatten(0, clips.shape[:2]), pred_steps=3)
    found = net({"clips": clips})
    assert found["loss"].item() == pytest.approx(loss.item(), rel=1e-4)
    assert found["top1"].item() == pytest.approx(top1.item())


# The tables.


def test_every_tensor_is_copied(case):
    name, state, imported, _ = case
    assert imported.config.backbone == name
    assert set(imported.used) | set(imported.left) == set(state)
    assert {key for key in state if "ConvGRUCell" in key} == set(imported.left)
    ours = network(imported).state_dict()
    for theirs, key in imported.used.items():
        assert ours[key].equal(state[theirs]), theirs
    added = ours.keys() - set(imported.used.values())
    kept = "backbone.bn1.running_mean" in state
    assert {key.rpartition(".")[2] for key in added} == (
        set() if kept else {"running_mean", "running_var", "num_batches_tracked"}
    )


def test_missing_statistics_have_initial_values():
    model, new = dpc.convert(original()).model, backbones.create("r2d3d18").state_dict()
    statistics = [key for key in new if key.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert len(statistics) == 3 * 20
    for key in statistics:
        assert model[f"backbone.{key}"].equal(new[key]), key


@pytest.mark.parametrize(("name", "size", "batch", "epochs"), [("r2d3d18", 128, 128, 300), ("r2d3d34", 224, 44, 150)])
def test_the_recipe_matches_the_published_commands(name, size, batch, epochs):
    config = dpc.convert(original(name)).config
    assert (config.backbone, config.plan.size, config.plan.stride) == (name, size, 5)
    assert (config.train.global_batch, config.train.epochs, config.net.pred_steps) == (batch, epochs, 3)


# Refused checkpoints.


def test_other_checkpoints_are_refused_by_name():
    state = original()
    with pytest.raises(UserError, match=r"this is DPC's classifier"):
        dpc.convert(state | {"final_fc.1.weight": torch.zeros(101, 256)})
    with pytest.raises(UserError, match=r"a 2D3D-ResNet of bottlenecks has no counterpart"):
        dpc.convert(state | {"backbone.layer1.0.conv3.weight": torch.zeros(256, 64, 1, 1, 1)})
    with pytest.raises(UserError, match=r"lacks network_pred\.0\.weight .*--from"):
        dpc.convert(state_like("concepts__pretrain_k100"))
    key = "agg.ConvGRUCell_00.out_gate.bias"
    with pytest.raises(UserError, match=r"ConvGRUCell_00\.out_gate\.bias .* differs"):
        dpc.convert(state | {key: state[key] + 1})
    with pytest.raises(UserError, match=r"transEnc\.norm\.weight"):  # CPC with a Transformer extends DPC's code
        dpc.convert(state | {"transEnc.norm.weight": torch.zeros(256)})


@pytest.mark.parametrize("key", ["backbone.layer3.1.bn2.running_var", "backbone.layer2.0.downsample.1.running_mean"])
def test_a_checkpoint_with_partial_statistics_is_refused(key):
    state = original(statistics=True)
    del state[key]
    with pytest.raises(UserError, match=r"the checkpoint lacks a tensor of shape \(\d+,\)"):
        network(dpc.convert(state))


@pytest.mark.slow
def test_an_import_without_statistics_can_only_be_finetuned(tmp_path, capsys):
    """Run the command on a file as DataParallel and the original save_checkpoint write it."""
    state = {f"module.{key}": tensor for key, tensor in original().items()}
    theirs, ours = tmp_path / "model.pth.tar", tmp_path / "dpc.pt"
    torch.save({"epoch": 300, "net": "resnet18", "state_dict": state, "best_acc": 0.5, "iteration": 9}, theirs)
    import_checkpoint.main([str(theirs), "--from", "dpc", "--out", str(ours)])
    assert capsys.readouterr().out.endswith(f"wrote {ours}: dpc, r2d3d18\n")
    weights = read(ours)
    weights.load_backbone(backbones.create("r2d3d18"), "r2d3d18")
    message = r"dpc\.pt has no batch norm statistics.* clipfeed finetune --mode full"
    with pytest.raises(UserError, match=message):
        extract_features(weights, tmp_path)
    with pytest.raises(UserError, match=message):
        export(weights, tmp_path / "hub")
    replace(weights, origin="").require_statistics()  # a run's own, however short the run
    key = "backbone.stem.1.running_mean"
    replace(weights, model={**weights.model, key: weights.model[key] + 0.1}).require_statistics()
    assert not (tmp_path / "hub").exists()


@pytest.mark.slow
def test_linear_and_retrieval_refuse_backbones_without_statistics(root, tmp_path):
    theirs, ours, recipe = tmp_path / "model.pth.tar", tmp_path / "dpc.pt", tmp_path / "recipe.yaml"
    torch.save({"net": "resnet18", "state_dict": original()}, theirs)
    import_checkpoint.main([str(theirs), "--from", "dpc", "--out", str(ours)])
    recipe.write_text(RECIPE.format(work_dir=tmp_path / "run", root=root))
    words = ["--config", str(recipe), "--set", "backbone=r2d3d18", "--device", "cpu"]
    message = r"dpc\.pt has no batch norm statistics.* clipfeed finetune --mode full"
    with pytest.raises(UserError, match=message):
        finetune.main([*words, "--mode", "linear", "--pretrained", str(ours)])
    with pytest.raises(UserError, match=message):
        test.main([*words, "--protocol", "retrieval", "--checkpoint", str(ours)])
