"""Sinkhorn, the attention and the losses of Concepts, against slow references and closed forms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nets.concept_parts import (
    ConceptAttention,
    alignment,
    instance_contrast,
    local_contrast,
    negative_entropy,
    reconstruction,
    sinkhorn,
)


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


# Sinkhorn.


def slow_sinkhorn(scores):
    """Make the paper's steps in float64, one row or column at a time: (B, K) -> (B, K)."""
    codes = np.exp((scores - scores.max()) / 0.05).T
    codes /= codes.sum()
    concepts, samples = codes.shape
    for _ in range(3):
        for k in range(concepts):
            codes[k] /= codes[k].sum() * concepts
        for b in range(samples):
            codes[:, b] /= codes[:, b].sum() * samples
    return (codes * samples).T


@pytest.mark.parametrize("shape", [(40, 7), (6, 50)])
def test_sinkhorn_matches_a_slow_reference(shape):
    scores = np.random.default_rng(0).uniform(-0.3, 0.3, shape)
    codes = sinkhorn(torch.tensor(scores, dtype=torch.float32))
    np.testing.assert_allclose(codes, slow_sinkhorn(scores), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(codes.sum(0), shape[0] / shape[1], rtol=0.35)  # under one if B < K


def test_sinkhorn_treats_views_separately():
    scores = torch.randn(3, 8, 5)
    torch.testing.assert_close(sinkhorn(scores), torch.stack([sinkhorn(view) for view in scores]))


def test_sinkhorn_balances_concepts_and_tolerates_extreme_scores():
    scores = torch.randn(64, 4) * 0.1 + torch.tensor([1.0, 0, 0, 0])
    assert (scores / 0.05).softmax(1).sum(0)[0] > 60
    assert sinkhorn(scores).sum(0)[0].item() == pytest.approx(16, rel=0.1)
    assert sinkhorn(1e4 * torch.randn(8, 5)).isfinite().all()


# Attention.


def test_attention_matches_a_slow_reference():
    net = ConceptAttention(8).double()
    maps, templates = torch.randn(2, 8, 1, 2, 3).double(), torch.randn(5, 8).double()
    with torch.no_grad():
        got = net(maps, templates)
        for b in range(2):
            positions = [maps[b, :, 0, y, x] for y in range(2) for x in range(3)]
            weights = np.zeros((6, 5))
            for position, token in enumerate(positions):
                key = net.project_k(net.norm_inputs(token))
                fits = [float(net.project_q(net.norm_templates(t)) @ key) / math.sqrt(8) for t in templates]
                weights[position] = np.exp(fits) / np.exp(fits).sum() + 1e-8
            weights /= weights.sum(0)
            for n, template in enumerate(templates):
                values = [w * net.project_v(net.norm_inputs(p)) for w, p in zip(weights[:, n], positions, strict=True)]
                part = sum(values) + template
                torch.testing.assert_close(got[b, n], part + net.mlp(net.norm_mlp(part)))


# Losses.


def test_instance_contrast_matches_a_slow_reference():
    queries, keys = unit(2, 5, 16), unit(5, 2, 16)
    loss, top1 = instance_contrast(queries, keys)
    losses, right = [], []
    for clip in range(2):
        for b in range(5):
            logits = np.array([float(queries[clip, b] @ keys[n, 1 - clip]) / 0.07 for n in range(5)])
            losses.append(np.log(np.exp(logits).sum()) - logits[b])
            right.append(logits.argmax() == b)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert top1.item() == pytest.approx(np.mean(right))


def test_instance_contrast_of_a_perfect_network_has_its_closed_form():
    same = torch.eye(6).expand(2, 6, 6)
    loss, top1 = instance_contrast(same, same.transpose(0, 1))
    assert loss.item() == pytest.approx(math.log(1 + 5 * math.exp(-1 / 0.07)), rel=0.1)
    assert top1 == 1


def test_alignment_matches_a_slow_reference():
    scores, older = 0.3 * torch.randn(4, 5, 6), 0.3 * torch.randn(4, 9, 6)
    got = alignment(scores, torch.cat([scores, older], 1))
    codes = [slow_sinkhorn(torch.cat([scores[i], older[i]]).double().numpy())[:5] for i in range(4)]
    total = 0.0
    for i in range(4):
        for j in set(range(4)) - {i}:
            for b in range(5):
                p = np.exp(scores[j, b].numpy() / 0.1)
                total -= (codes[i][b] * np.log(p / p.sum())).sum() / 5 / 3 / 4
    assert got.item() == pytest.approx(total, rel=1e-4)


def test_negative_entropy_of_uniform_and_one_hot_scores():
    assert negative_entropy(torch.zeros(2, 3, 50)).item() == pytest.approx(-math.log(50))
    assert negative_entropy(100 * torch.eye(5)[None]).item() == pytest.approx(0, abs=1e-6)


def test_reconstruction_is_negative_cosine_without_target_gradient():
    rebuilt, target = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8, requires_grad=True)
    assert reconstruction(3 * target, target).item() == pytest.approx(-1)
    reconstruction(rebuilt, target).backward()
    assert target.grad is None
    assert rebuilt.grad is not None
    assert rebuilt.grad.any()


def slow_local(parts, scores):
    parts = parts / parts.norm(dim=-1, keepdim=True)
    total, count, samples = 0.0, 0, parts.shape[1]
    for i, j in ((0, 1), (1, 0)):
        for b in range(samples):
            best = [set(np.argsort(-scores[view, b].numpy())[:9].tolist()) for view in (i, j)]
            for n in best[0] & best[1]:
                count += 1
                for p in range(samples):
                    square = 2 - 2 * float(parts[i, b, n] @ parts[j, p, n]) + 1e-5
                    total += square if p == b else max(1.4 - math.sqrt(square), 0) ** 2 / (samples - 1)
    return total / (count + 1)


@pytest.mark.parametrize("concepts", [10, 30])
def test_local_contrast_matches_a_slow_reference(concepts):
    parts, scores = torch.randn(2, 4, concepts, 6), torch.randn(2, 4, concepts)
    assert local_contrast(parts, scores).item() == pytest.approx(slow_local(parts, scores), rel=1e-4)
