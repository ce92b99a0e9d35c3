"""Checkpoints of the four systems that do not fit are refused with an error that names the misfit."""

from importlib import import_module

import pytest
import torch

from configs.errors import UserError
from tests.helpers.originals import empty_state
from trainers.weights.imports import network

CHECKPOINTS = {
    "concepts": "concepts__pretrain_k100",
    "cpc_transformer": "cpc_transformer__pretrain_r18_224_5pred3",
    "cstp": "cstp__r21d_classifier",
    "ctp": "ctp__recognizer_r3d18_ucf101",
}
GRU = "agg.ConvGRUCell_00.out_gate.weight"
ATTENTION = "transEnc.transEncoder.layers"

# System, key -> changed shape (None: missing), error.
MISFITS = [
    (
        "concepts",
        {"backbone.layer1.1.conv1.0.0.weight": (144, 64, 1, 3, 3)},
        r"layer1\.1\.conv1\.0\.0\.weight",
    ),
    ("concepts", {"fv.7.weight": (3,)}, r"fv\.7\.weight"),
    ("concepts", {"fvs.0.bias": None}, r"instance\.rgb_static\.0\.bias"),
    ("concepts", {"gs.0.weight": (512, 99)}, r"gs\.0\.weight is of shape \(512, 99\)"),
    ("concepts", {"queue": None}, "no queue"),
    ("concepts", {"queue": (128, 65536)}, r"queue of shape \(128, 65536\)"),  # like MoCo's
    ("cpc_transformer", {"backbone.layer1.2.conv1.weight": (64, 64, 3, 3)}, r"backbone\.layer1\.2\.conv1\.weight"),
    ("cpc_transformer", {"final_fc.1.weight": (101, 256)}, r"4 keys: network_pred\.0\.weight"),  # and a classifier
    ("cpc_transformer", {"backbone.layer4.1.bn2.running_var": None}, r"resnet\.layer4\.1\.bn2\.running_var"),
    ("cpc_transformer", {"transEnc.transEncoder.norm.a_2": None}, r"backbone\.transformer\.norm\.weight"),
    ("cpc_transformer", {f"{ATTENTION}.1.self_attn.linears.1.weight": None}, r"layers\.1\.self_attn\.in_proj_weight"),
    ("cpc_transformer", {"network_pred.2.bias": None}, r"predictor\.2\.bias"),
    ("cpc_transformer", {"backbone.conv1.weight": (5, 7)}, r"conv1\.weight is of shape \(5, 7\)"),
    ("cpc_transformer", {f"{ATTENTION}.0.self_attn.linears.0.weight": (5, 7)}, r"in_proj_weight .*\(5, 7\)"),
    ("cstp", {"online_net.conv6.weight": (1,)}, r"no counterpart here for 1 key: online_net\.conv6\.weight"),
    ("cstp", {"target_net.bn1.weight": (64,)}, r"target_net\.bn1\.weight has no counterpart"),
    ("cstp", {"online_net.conv4.block1.bn1.weight": None}, r"lacks .* \(256,\), backbone\.layer3\.0\.conv1\.1\.weight"),
    ("cstp", {"online_net.bn1.weight": (63,)}, r"online_net\.bn1\.weight is of shape \(63,\); \(64,\)"),
    ("cstp", {"classify.weight": (101, 1024)}, r"classify\.weight is of shape \(101, 1024\); \(101, 512\)"),
    ("cstp", {"classify.weight": None}, r"neither predictor\.net\.0\.weight.* nor classify\.weight"),
    ("cstp", {"online_net.conv1.spatial_conv.weight": None}, "none of CSTP's networks"),
    (
        "ctp",
        dict.fromkeys(("backbone.layer5.0.bn1.weight", "cls_head.bn.weight", "ema", "x"), (1,)),
        r"4 keys: backbone.layer5.0.bn1.weight, cls_head.bn.weight, ema and 1 more",
    ),
    (
        "ctp",
        {"backbone.layer3.1.bn2.bias": None},
        r"lacks a tensor of shape \(256,\), .*layer3.1.conv2.1.bias here",
    ),
    (
        "ctp",
        {"backbone.layer2.0.downsample.conv.weight": (128, 32, 1, 1, 1)},
        r"layer2.0.downsample.conv.weight is of shape \(128, 32, 1, 1, 1\); \(128, 64,",
    ),
]


@pytest.mark.parametrize(("system", "change", "message"), MISFITS)
def test_extra_missing_and_misshapen_keys_are_named(system, change, message):
    state = empty_state(CHECKPOINTS[system])
    for key, shape in change.items():
        state.pop(key, None)
        if shape:
            state[key] = torch.zeros(()).expand(shape)
    with pytest.raises(UserError, match=message):
        network(import_module(f"trainers.weights.imports.{system}").convert(state))


@pytest.mark.parametrize(
    ("system", "other_checkpoint", "message"),
    [
        ("concepts", "cpc_transformer__pretrain_r18_224_5pred3", r"no prototype\.weight"),
        ("cpc_transformer", "concepts__pretrain_k100", r"network_pred\.0\.weight.*--from"),
        ("cstp", "concepts__pretrain_k100", "as CSTP's pretraining has"),
        ("cstp", "cpc_transformer__classifier_r18_224_ucf101", "as CSTP's pretraining has"),
        ("ctp", "concepts__pretrain_k100", r"no counterpart here for 218 keys: .*; is --from the right system\?"),
        ("ctp", "cstp__r21d_pretrain", "not a checkpoint of CtP's code, which would have one of the keys head.pred"),
    ],
)
def test_a_checkpoint_of_another_system_is_refused(system, other_checkpoint, message):
    with pytest.raises(UserError, match=message):
        import_module(f"trainers.weights.imports.{system}").convert(empty_state(other_checkpoint))


@pytest.mark.parametrize(
    ("system", "name", "key", "message"),
    [
        ("cpc_transformer", CHECKPOINTS["cpc_transformer"], GRU, r"ConvGRUCell_00\.out_gate\.weight .* differs"),
        (
            "ctp",
            "ctp__memdpc",
            "agg_b.cell_list.0.out_gate.bias",
            "agg_b.cell_list.0.out_gate.bias is a second name of agg_b.ConvGRUCell_00.out",
        ),
    ],
)
def test_tied_tensors_must_have_equal_values(system, name, key, message):
    convert = import_module(f"trainers.weights.imports.{system}").convert
    state = empty_state(name)
    assert key in convert(state).left
    with pytest.raises(UserError, match=message):
        convert(state | {key: state[key] + 1})
