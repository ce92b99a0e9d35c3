"""Weight initialization shared by several networks, in place."""

from torch import nn


def init_kaiming(network: nn.Module) -> None:
    """Draw convolutions from Kaiming's normal distribution (fan out, ReLU); zero their biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_orthogonal(network: nn.Module, gain: float = 1.0) -> None:
    """Draw orthogonal matrices for all weights, one each for q, k and v of attention; zero all biases."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim > 1:
            for matrix in parameter.chunk(3) if "in_proj" in name else [parameter]:
                nn.init.orthogonal_(matrix, gain)


def init_scaled(blocks: nn.Sequential) -> None:
    """Draw the matrices of `vit.encoder_blocks` as V-JEPA does: sigma 0.02, smaller at the end of deeper branches."""
    for depth, block in enumerate(blocks, 1):
        for name, parameter in block.named_parameters():
            if parameter.ndim == 2:
                ends = name.endswith(("out_proj.weight", "mlp.3.weight"))
                std = 0.02 / (2 * depth) ** 0.5 if ends else 0.02
                nn.init.trunc_normal_(parameter, std=std)


def init_xavier(network: nn.Module) -> None:
    """Draw matrices from Xavier's uniform distribution, q, k and v of attention as one; zero all biases."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.xavier_uniform_(parameter)
