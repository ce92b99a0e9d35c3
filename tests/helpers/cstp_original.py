"""CSTP's checkpoints, and its networks in eval mode, layer by layer on those keys (specs/cstp.md 2.2 to 2.6)."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.originals import State, linear, normed, random_state

# The modules of each block of S3D-G, as the block numbers them; None is a pool.
BLOCKS: dict[str, list[str | None]] = {
    "block1": ["Conv_1a"],
    "block2": [None, "Conv_2b", "Conv_2c"],
    "block3": [None, "Mixed_3b", "Mixed_3c"],
    "block4": [None, "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"],
    "block5": [None, "Mixed_5b", "Mixed_5c"],
}


def canonical_name(key):
    """Return the first name of a key that is a second name, else the key itself."""
    match = re.fullmatch(r"(\w+_net)\.(block\d)\.(\d)\.(.+)", key)
    return f"{match[1]}.{BLOCKS[match[2]][int(match[3])]}.{match[4]}" if match else key


def checkpoint(shapes):
    """Return random weights, equal under both names of a tensor."""
    state = random_state(shapes)
    return {key: state[canonical_name(key)] for key in state}


def conv(state: State, name: str, x: Tensor, stride=1, *, padding=None) -> Tensor:
    """Convolve; the default padding keeps the size at stride 1."""
    weight = state[f"{name}.weight"]
    padding = [side // 2 for side in weight.shape[2:]] if padding is None else padding
    return F.conv3d(x, weight, state.get(f"{name}.bias"), stride, padding)


def r2plus1d(s: State, net: str, x: Tensor) -> Tensor:
    def factored(name: str, x: Tensor, stride: tuple[int, int, int]) -> Tensor:
        t, h, w = stride
        between = conv(s, f"{name}.spatial_conv", x, (1, h, w))
        return conv(s, f"{name}.temporal_conv", F.relu(normed(s, f"{name}.bn", between)), (t, 1, 1))

    x = F.relu(normed(s, f"{net}.bn1", factored(f"{net}.conv1", x, (1, 2, 2))))
    for stage in range(2, 6):
        block, stride = f"{net}.conv{stage}.block1", (1, 1, 1) if stage == 2 else (2, 2, 2)
        y = F.relu(normed(s, f"{block}.bn1", factored(f"{block}.conv1", x, stride)))
        y = normed(s, f"{block}.bn2", factored(f"{block}.conv2", y, (1, 1, 1)))
        if stage > 2:
            x = normed(s, f"{block}.downsamplebn", factored(f"{block}.downsampleconv", x, stride))
        x = F.relu(y + x)
    return x


def c3d(s: State, net: str, x: Tensor) -> Tensor:
    pools: dict[str, tuple] = {"2": (1, 2, 2), "3a": (2, 2, 2), "4a": (2, 2, 2), "5a": (2, 2, 2)}
    for name in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b"):
        if name in pools:
            x = F.max_pool3d(x, pools[name], pools[name])
        x = F.relu(normed(s, f"{net}.bn{name}", conv(s, f"{net}.conv{name}", x)))
    return x


def resnet3d(s: State, net: str, x: Tensor) -> Tensor:
    x = F.relu(normed(s, f"{net}.bn1", conv(s, f"{net}.conv1", x, (1, 2, 2))))
    x = F.max_pool3d(x, 3, 2, 1)
    for layer in range(1, 5):
        for number in range(2):
            block, stride = f"{net}.layer{layer}.{number}", 2 if layer > 1 and number == 0 else 1
            y = F.relu(normed(s, f"{block}.bn1", conv(s, f"{block}.conv1", x, stride)))
            y = normed(s, f"{block}.bn2", conv(s, f"{block}.conv2", y))
            if stride == 2:
                x = normed(s, f"{block}.downsample.1", conv(s, f"{block}.downsample.0", x, 2))
            x = F.relu(y + x)
    return x


def s3dg(s: State, net: str, x: Tensor) -> Tensor:
    def plain(name: str, x: Tensor) -> Tensor:
        return F.relu(normed(s, f"{name}.bn", conv(s, f"{name}.conv", x)))

    def separable(name: str, x: Tensor, stride: int = 1) -> Tensor:
        x = F.relu(normed(s, f"{name}.bn1", conv(s, f"{name}.conv1", x, (1, stride, stride))))
        return F.relu(normed(s, f"{name}.bn2", conv(s, f"{name}.conv2", x, (stride, 1, 1))))

    def gated(name: str, x: Tensor) -> Tensor:
        return x * linear(s, f"{name}.fc", x.mean((2, 3, 4))).sigmoid()[:, :, None, None, None]

    def mixed(name: str, x: Tensor) -> Tensor:
        branches = [
            plain(f"{name}.branch0.0", x),
            separable(f"{name}.branch1.1", plain(f"{name}.branch1.0", x)),
            separable(f"{name}.branch2.1", plain(f"{name}.branch2.0", x)),
            plain(f"{name}.branch3.1", F.max_pool3d(x, 3, 1, 1)),
        ]
        return torch.cat([gated(f"{name}.gating_b{n}", branch) for n, branch in enumerate(branches)], 1)

    x = F.max_pool3d(separable(f"{net}.Conv_1a", x, 2), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    x = separable(f"{net}.Conv_2c", plain(f"{net}.Conv_2b", x))
    pools: dict[str, tuple] = {"3b": ((1, 3, 3), (1, 2, 2), (0, 1, 1)), "4b": (3, 2, 1), "5b": (2, 2, 0)}
    for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        if name in pools:
            x = F.max_pool3d(x, *pools[name])
        x = mixed(f"{net}.Mixed_{name}", x)
    return x


def i3d(s: State, net: str, x: Tensor) -> Tensor:
    """Run I3D on clips whose axes stay even down to the last pool, where TensorFlow pads `kernel - stride` cells."""

    def unit(name: str, x: Tensor) -> Tensor:
        return F.relu(normed(s, f"{name}.batch3d", conv(s, f"{name}.conv3d", x)))

    def mixed(name: str, x: Tensor) -> Tensor:
        branches = [
            unit(f"{name}.branch_0", x),
            unit(f"{name}.branch_1.1", unit(f"{name}.branch_1.0", x)),
            unit(f"{name}.branch_2.1", unit(f"{name}.branch_2.0", x)),
            unit(f"{name}.branch_3.1", F.max_pool3d(F.pad(x, (1,) * 6), 3, 1)),
        ]
        return torch.cat(branches, 1)

    def pool_space(x: Tensor) -> Tensor:
        return F.max_pool3d(F.pad(x, (0, 1, 0, 1)), (1, 3, 3), (1, 2, 2))

    stem = f"{net}.conv3d_1a_7x7"
    x = conv(s, f"{stem}.conv3d", F.pad(x, (2, 3) * 3), 2, padding=0)
    x = pool_space(F.relu(normed(s, f"{stem}.batch3d", x)))
    x = pool_space(unit(f"{net}.conv3d_2c_3x3", unit(f"{net}.conv3d_2b_1x1", x)))
    for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        if name == "4b":
            x = F.max_pool3d(F.pad(x, (0, 1) * 3), 3, 2)
        if name == "5b":
            x = F.max_pool3d(x, 2, 2)
        x = mixed(f"{net}.mixed_{name}", x)
    return x


FEATURES = {"r21d": r2plus1d, "c3d": c3d, "r3d18": resnet3d, "s3dg": s3dg, "i3d": i3d}


def head(s: State, name: str, x: Tensor) -> Tensor:
    """Apply one linear layer, or two with batch normalization and ReLU between them."""
    if f"{name}.weight" in s:
        return linear(s, name, x)
    return linear(s, f"{name}.3", F.relu(normed(s, f"{name}.1", linear(s, f"{name}.0", x))))


def pretraining(s: State, system: str, clips: list[Tensor]) -> dict[str, Tensor]:
    """Return the outputs of both networks and all heads for two clips."""

    def pooled(net: str, clip: Tensor) -> Tensor:
        mean = FEATURES[system](s, net, clip).mean((2, 3, 4))
        return F.normalize(mean) if system == "i3d" else mean

    def projected(net: str, x: Tensor) -> Tensor:
        return head(s, f"{net}.project.net", x) if f"{net}.project.net.0.weight" in s else x

    rotation = "rot_cls" if system in ("r3d18", "i3d") else "rotate_cls"
    first, second = (pooled("online_net", clip) for clip in clips)
    return {
        "map": FEATURES[system](s, "online_net", clips[0]),
        "query": head(s, "predictor.net", projected("online_net", first)),
        "target": projected("target_net", pooled("target_net", clips[0])),
        "spatial": head(s, "overlap_spa", torch.cat([first, second], 1)),
        "temporal": head(s, "overlap_tem", torch.cat([first, second], 1)),
        "playback": head(s, "pb_cls", first),
        "rotation": head(s, rotation, first),
    }


def logits(s: State, system: str, clips: Tensor) -> Tensor:
    features = F.normalize(FEATURES[system](s, "online_net", clips).mean((2, 3, 4)))
    bn = "cls_bn" if system in ("r21d", "c3d") else "classify_bn"
    return linear(s, "classify", normed(s, bn, features))
