"""Cross-attention from concepts to the positions of a feature map (specs/concepts.md 3.4)."""

import torch.nn.functional as F
from torch import Tensor, nn


class ConceptAttention(nn.Module):
    """Slot attention with concepts as slots: they compete for each position, then average what they won."""

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
        """Attend from concepts (N, C) to maps (B, C, T, H, W); return one feature per concept, (B, N, C)."""
        tokens_BLC = self.norm_inputs(maps_BCTHW.flatten(2).transpose(1, 2))
        keys_BLC, values_BLC = self.project_k(tokens_BLC), self.project_v(tokens_BLC)
        queries_NC = self.project_q(self.norm_templates(templates_NC)) * templates_NC.shape[1] ** -0.5
        weights_BLN = F.linear(keys_BLC, queries_NC).softmax(-1) + 1e-8
        weights_BLN = weights_BLN / weights_BLN.sum(1, keepdim=True)
        attended_BNC: Tensor = weights_BLN.transpose(1, 2) @ values_BLC + templates_NC
        update_BNC: Tensor = self.mlp(self.norm_mlp(attended_BNC))
        return attended_BNC + update_BNC
