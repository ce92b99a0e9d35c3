"""Cross-attention of concepts with the places of a feature map (specs/concepts.md 3.4)."""

import torch.nn.functional as F
from torch import Tensor, nn


class ConceptAttention(nn.Module):
    """Gathers for every concept what the map has of it: at each place the concepts compete for what is there."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project_q = nn.Linear(dim, dim, bias=False)
        self.project_k = nn.Linear(dim, dim, bias=False)
        self.project_v = nn.Linear(dim, dim, bias=False)
        self.norm_inputs = nn.LayerNorm(dim)
        self.norm_templates = nn.LayerNorm(dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim))

    def forward(self, maps_BCTHW: Tensor, templates_NC: Tensor) -> Tensor:
        """Feature maps (B, C, T, H, W) and concepts (N, C) -> what each map has of each concept, (B, N, C)."""
        tokens_BLC = self.norm_inputs(maps_BCTHW.flatten(2).transpose(1, 2))
        keys_BLC, values_BLC = self.project_k(tokens_BLC), self.project_v(tokens_BLC)
        queries_NC = self.project_q(self.norm_templates(templates_NC)) * templates_NC.shape[1] ** -0.5
        weights_BLN = F.linear(keys_BLC, queries_NC).softmax(-1) + 1e-8
        weights_BLN = weights_BLN / weights_BLN.sum(1, keepdim=True)
        gathered_BNC = weights_BLN.transpose(1, 2) @ values_BLC + templates_NC
        return gathered_BNC + self.mlp(self.norm_mlp(gathered_BNC))
