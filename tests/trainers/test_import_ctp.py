"""Import of checkpoints of CtP's code, against the arithmetic of specs/ctp.md 1 to 3 on the original keys."""

from functools import partial
from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import roi_align

from nets.dense_cpc import predict_last
from tests.helpers import originals
from tests.helpers.originals import empty_state, linear, state_like
from tests.helpers.runs import ROOT
from trainers.commands import finetune, import_checkpoint
from trainers.weights import read
from trainers.weights.imports import ctp, network

pytestmark = pytest.mark.slow

RECIPES = {
    "ctp_r3d18": ("ctp/r3d18_kinetics.yaml", "r3d18"),
    "ctp_r2plus1d18": ("ctp/r2plus1d18_kinetics.yaml", "r2plus1d18"),
    "moco": ("moco/r3d18_kinetics.yaml", "r3d18"),
    "memdpc": ("memdpc/r3d18_kinetics.yaml", "r3d18"),
    "rot3d": ("rot3d/r3d18_kinetics.yaml", "r3d18"),
    "speednet": ("speednet/r3d18_kinetics.yaml", "r3d18"),
    "vcop": ("vcop/r3d18_kinetics.yaml", "r3d18"),
    "recognizer_r3d18_ucf101": ("recognition/ctp_r3d18_ucf101.yaml", "r3d18"),
    "recognizer_r2plus1d18_ucf101": ("recognition/ctp_r2plus1d18_ucf101.yaml", "r2plus1d18"),
}
CLASSIFIERS = ("rot3d", "speednet", "recognizer_r3d18_ucf101", "recognizer_r2plus1d18_ucf101")
normed = partial(originals.normed, eps=1e-3)
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module", params=RECIPES)
def case(request):
    """Return the name, original state, import and our network, made once per checkpoint."""
    state = original(request.param)
    imported = ctp.convert(state)
    return request.param, state, imported, network(imported)


def original(name):
    state = state_like(f"ctp__{name}")
    if name == "moco":
        state |= {"queue": F.normalize(state["queue"], dim=0), "queue_ptr": torch.tensor([64])}
    for gru in ("agg_f", "agg_b") if name == "memdpc" else ():
        for key in [key for key in state if key.startswith(f"{gru}.cell_list.0")]:
            state[key] = state[key.replace("cell_list.0", "ConvGRUCell_00")]
    return state


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# The original, step by step.


def convolution(state, key, x, t=1, s=1):
    """Apply a convolution of section 2: 3x3x3, or 1x3x3 and 3x1x1."""
    if f"{key}.conv.weight" in state:
        return F.conv3d(x, state[f"{key}.conv.weight"], stride=(t, s, s), padding=1)
    x = F.conv3d(x, state[f"{key}.conv_s.weight"], stride=(1, s, s), padding=(0, 1, 1))
    x = F.relu(normed(state, f"{key}.bn_s", x))
    return F.conv3d(x, state[f"{key}.conv_t.weight"], stride=(t, 1, 1), padding=(1, 0, 0))


def features(state, x, *, net="backbone", spatial=(1, 2, 2, 2), temporal=(1, 2, 2, 2)):
    """Apply a backbone of section 2: (B, 3, T, H, W) -> (B, 512, T', H', W')."""
    if f"{net}.stem.conv.weight" in state:
        x = F.conv3d(x, state[f"{net}.stem.conv.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
        x = F.relu(normed(state, f"{net}.stem.bn", x))
    else:
        x = F.conv3d(x, state[f"{net}.stem.conv_s.weight"], stride=(1, 2, 2), padding=(0, 3, 3))
        x = F.relu(normed(state, f"{net}.stem.bn_s", x))
        x = F.conv3d(x, state[f"{net}.stem.conv_t.weight"], padding=(1, 0, 0))
        x = F.relu(normed(state, f"{net}.stem.bn_t", x))
    for stage, (t, s) in enumerate(zip(temporal, spatial, strict=True), start=1):
        for block in (0, 1):
            key = f"{net}.layer{stage}.{block}"
            stride = (t, s) if block == 0 else (1, 1)
            y = F.relu(normed(state, f"{key}.bn1", convolution(state, f"{key}.conv1", x, *stride)))
            y = normed(state, f"{key}.bn2", convolution(state, f"{key}.conv2", y))
            if stage > 1 and block == 0:
                x = F.conv3d(x, state[f"{key}.downsample.conv.weight"], stride=(t, s, s))
                x = normed(state, f"{key}.downsample_bn", x)
            x = F.relu(x + y)
    return x


def test_every_tensor_is_copied_or_has_a_reason(case):
    name, state, imported, net = case
    assert imported.recipe == RECIPES[name][0]
    assert imported.config.backbone == RECIPES[name][1]
    assert imported.used.keys() | imported.left.keys() == state.keys()
    assert len(imported.left) == (12 if name == "memdpc" else 0)
    assert all("second name of agg_" in reason for reason in imported.left.values())
    ours = net.state_dict()
    assert sorted(imported.used.values()) == sorted(ours)
    folded = {"queue": state["queue"].T, "queue_ptr": torch.tensor(64)} if name == "moco" else {}
    for theirs, key in imported.used.items():
        expected = folded.get(theirs, state[theirs])
        assert ours[key].equal(expected), theirs


@torch.no_grad()
def test_imported_networks_match_the_original(case):
    name, state, _, net = case
    kind = "classifier" if name in CLASSIFIERS else name.partition("_")[0]
    ours, theirs = {"classifier": logits, "ctp": offsets, "moco": keys, "memdpc": both_ways, "vcop": order}[kind](
        state, net
    )
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


def logits(state, net):
    """Return our logits and those of section 3, which 1.4 and 1.5 share."""
    clips = random(2, 3, 16, 32, 32)
    return net.logits(clips), linear(state, "cls_head.fc_cls", features(state, clips).mean((2, 3, 4)))


def offsets(state, net):
    """Return our offsets and those of section 1.1; the last stage has no spatial stride."""
    clips, x1y1 = random(2, 3, 16, 32, 32), torch.tensor([[[1.0, 2.0], [8.0, 4.0], [13.0, 15.0]]] * 2)
    queries = torch.cat([x1y1, x1y1 + torch.tensor([10.0, 14.0])], dim=-1)
    maps = features(state, clips, spatial=(1, 2, 2, 1))
    maps = F.conv3d(maps, state["head.temporal_conv.weight"], state["head.temporal_conv.bias"]).squeeze(2)
    cells = roi_align(F.relu(maps), list(queries), 5, 1 / 8, sampling_ratio=2, aligned=True)
    hidden = F.relu(linear(state, "head.fc1", cells.flatten(1)))
    return net.head(net.backbone(clips), queries), linear(state, "head.pred_head", hidden).view(2, 3, 16, 4)


def keys(state, net):
    """Return our values and those of section 1.3: keys that entered the queue at its pointer, and the loss."""
    clips = random(2, 2, 3, 16, 32, 32)
    loss = net({"clips": clips})["loss"]
    unit = [
        F.normalize(linear(state, f"{fc}.2", F.relu(linear(state, f"{fc}.0", pooled))), dim=1)
        for fc, pooled in {
            "fc": features(state, clips[:, 0]).mean((2, 3, 4)),
            "key_fc": features(state, clips[:, 1], net="key_encoder").mean((2, 3, 4)),
        }.items()
    ]
    products = torch.cat([(unit[0] * unit[1]).sum(1, keepdim=True), unit[0] @ state["queue"]], dim=1) / 0.2
    nce = (products.exp().sum(1).log() - products[:, 0]).mean()
    return torch.cat([net.queue[64:66].flatten(), loss[None]]), torch.cat([unit[1].flatten(), nce[None]])


def both_ways(state, net):
    """Return our losses and those of section 1.2: the sum, and predicting the last and first three of eight blocks."""
    blocks = random(1, 8, 3, 5, 32, 32)
    maps = features(state, blocks[0], temporal=(1, 1, 2, 2))
    z = F.conv3d(maps, state["proj_head.weight"], state["proj_head.bias"]).mean(2)  # (8, 256, 2, 2)

    def conv(key, x):
        return F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"])

    def loss(z, agg):
        def gru(x, h):
            key = f"{agg}.ConvGRUCell_00"
            both = torch.cat([x, h])[None]
            u, r = (torch.sigmoid(conv(f"{key}.{gate}_gate", both)[0]) for gate in ("update", "reset"))
            new = torch.tanh(conv(f"{key}.out_gate", torch.cat([x, r * h])[None])[0])
            return (1 - u) * h + u * new

        h = torch.zeros_like(z[0])
        for block in z[:5]:
            h = gru(F.relu(block), h)
        guesses = []
        for _ in range(3):
            slots = conv("network_pred.2", F.relu(conv("network_pred.0", h[None])))[0].softmax(0)
            guesses.append((state["mb"].T @ slots.flatten(1)).view_as(h))
            h = gru(F.relu(guesses[-1]), h)
        rows, columns = (torch.stack(list(maps)).movedim(1, -1).flatten(0, 2) for maps in (guesses, z[5:]))
        return F.cross_entropy(rows @ columns.T, torch.arange(12))

    ahead, back = (
        predict_last(gru, net.memory, x, net.cfg)["loss"]
        for x, gru in ((z[None], net.forward_gru), (z.flip(0)[None], net.backward_gru))
    )
    ours = torch.stack([net({"clips": blocks})["loss"], ahead, back])
    theirs = [loss(z, "agg_f"), loss(z.flip(0), "agg_b")]
    return ours, torch.stack([sum(theirs), *theirs])


def order(state, net):
    """Return our logits of the six orders and those of section 1.6."""
    clips, seen = random(1, 3, 3, 16, 32, 32), []
    net.classify.register_forward_hook(lambda *parts: seen.append(parts[-1]))
    net({"clips": clips, "labels": torch.tensor([0])})
    pooled = features(state, clips[0]).mean((2, 3, 4))
    pairs = [F.relu(linear(state, "vcop_head.fc1", pooled[list(pair)].flatten())) for pair in combinations(range(3), 2)]
    return seen[0][0], linear(state, "vcop_head.fc2", torch.cat(pairs))


@pytest.mark.parametrize(
    ("classes", "recipe"), [(51, "ctp_r3d18_hmdb51"), (174, "ctp_r3d18_ssv1"), (9, "ctp_r3d18_ucf101")]
)
def test_the_number_of_classes_chooses_the_recipe(classes, recipe):
    state = empty_state("ctp__recognizer_r3d18_ucf101") | {"cls_head.fc_cls.weight": torch.empty(classes, 512)}
    imported = ctp.convert(state)
    assert imported.recipe == f"recognition/{recipe}.yaml"
    assert imported.config.backbone == "r3d18"


def test_an_mmcv_checkpoint_is_imported_and_finetuned(tmp_path, vp9_store, capsys):
    state = {f"module.{key}": tensor for key, tensor in original("ctp_r3d18").items()}
    torch.save({"meta": {"epoch": 90, "iter": 7}, "state_dict": state, "optimizer": {}}, tmp_path / "epoch_90.pth")
    out = tmp_path / "out" / "ctp.pt"
    import_checkpoint.main([str(tmp_path / "epoch_90.pth"), "--from", "ctp", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "   120 keys of backbone -> backbone\n     6 keys of head -> head\n" in printed
    assert "recipe: configs/ctp/r3d18_kinetics.yaml\n" in printed
    weights = read(out)
    assert weights.config is not None
    assert (weights.step, weights.backbone, weights.config.task, weights.classes) == (0, "r3d18", "ctp", ())
    changes = [f"data.root={vp9_store.root}", "data.list=null", "data.workers=0", "data.threads=1", "plan.num_frames=8"]
    changes += ["plan.size=32", "plan.short_sides=[32]", "train.global_batch=2"]
    recipe = ROOT / "configs/recognition/ctp_r3d18_ucf101.yaml"
    options = [part for change in changes for part in ("--set", change)]
    finetune.main(["--config", str(recipe), "--pretrained", str(out), "--dry-run", "--device", "cpu", *options])
    printed = capsys.readouterr().out
    assert "note: plan.num_frames is 8; the network was pretrained with 16" in printed
    assert "dry run: nothing was written" in printed
    assert weights.model["backbone.layer4.1.conv2.0.weight"].equal(state["module.backbone.layer4.1.conv2.conv.weight"])
