"""Weight initialization that several networks share, in place."""

from torch import nn


def init_kaiming(network: nn.Module) -> None:
    """Draw convolutions from Kaiming's normal distribution (fan out, ReLU); zero their biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_orthogonal(network: nn.Module, gain: float = 1.0) -> None:
    """Draw orthogonal matrices for all weights; zero all biases. For modules without normalization."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.orthogonal_(parameter, gain)


def init_xavier(network: nn.Module) -> None:
    """Draw matrices from Xavier's uniform distribution, q, k and v of attention as one; zero all biases."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.xavier_uniform_(parameter)
