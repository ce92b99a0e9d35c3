"""The nearest-neighbor vote against a slow loop and closed forms."""

import math

import numpy as np
import pytest
import torch

from configs.errors import UserError
from tests.helpers.features import features, random_sets, shuffled
from tests.helpers.ranks import ALONE
from trainers.evaluation import attentive, linear, protocols
from trainers.evaluation.features import Features
from trainers.evaluation.intervals import wilson
from trainers.evaluation.knn import probe, scores
from trainers.evaluation.saved_features import Sets

CPU = torch.device("cpu")


def slow_rank(train: Features, query: np.ndarray, label: int, k: int) -> int:
    """Return the rank, from 1, of the query's class by votes, computed in one loop by the paper's equation."""
    votes: dict[int, float] = {}
    readable = [(v, y) for v, y in zip(train.values.astype(float), train.labels.tolist(), strict=True) if v[0] == v[0]]
    cosines = [(float(v @ query) / math.sqrt(float(v @ v) * float(query @ query)), y) for v, y in readable]
    for cosine, y in sorted(cosines, reverse=True)[:k]:
        votes[y] = votes.get(y, 0) + math.exp(cosine / 0.07)
    order = sorted(votes, key=lambda y: -votes[y])
    return order.index(label) + 1 if label in order else 99


def test_votes_match_a_slow_loop():
    test, train = random_sets()
    measured = probe(train, test, classes=6, device=CPU)
    for k, found in measured["top1_by_k"].items():
        ranks = [
            99 if np.isnan(query[0]) else slow_rank(train, query.astype(float), label, k)
            for query, label in zip(test.values, test.labels.tolist(), strict=True)
        ]
        assert found == pytest.approx(np.mean([rank == 1 for rank in ranks]))
        assert 0.1 < found < 0.9
    assert measured["top5"] == pytest.approx(np.mean([rank <= 5 for rank in ranks]))  # k = 20, the last
    assert measured["top1"] == measured["top1_by_k"][20] != measured["top1_by_k"][10]
    assert measured["interval"] == pytest.approx(wilson(round(measured["top1"] * 300), 300))
    assert [*measured][:3] == ["top1", "interval", "chance"]


def test_a_near_neighbor_outvotes_far_ones_by_temperature():
    """One neighbor at cosine 1 against n at cosine c: votes of exp(1 / 0.07) to n exp(c / 0.07)."""
    c = 0.9
    near, far = [1.0, 0.0], [c, math.sqrt(1 - c * c)]
    for count, winner in ((4, 0), (5, 1)):  # exp(0.1 / 0.07) = 4.17
        found = scores(
            torch.tensor([near] + [far] * count),
            torch.tensor([0] + [1] * count),
            torch.tensor([[5.0, 0.0]]),
            classes=2,
            k=20,
        )
        odds = math.exp(0.1 / 0.07) / count
        assert found[0].tolist() == pytest.approx([odds / (1 + odds), 1 / (1 + odds)], abs=1e-5)
        assert int(found.argmax()) == winner


def test_only_the_k_nearest_vote():
    train = torch.tensor([[math.cos(angle / 100), math.sin(angle / 100)] for angle in range(5)])
    found = scores(train, torch.tensor([0, 1, 1, 2, 2]), torch.tensor([[1.0, 0.0]]), classes=3, k=3)
    weights = [math.exp((math.cos(angle / 100) - 1) / 0.07) for angle in range(3)]
    expected = [weights[0] / sum(weights), (weights[1] + weights[2]) / sum(weights), 0]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_neither_norm_nor_order_of_features_matters():
    test, train = random_sets()
    longer = Features(train.names, train.labels, train.values * np.linspace(1, 9, 90, dtype=np.float32)[:, None], {})
    measured = probe(train, test, classes=6, device=CPU)
    assert probe(shuffled(longer, 1), shuffled(test, 2), classes=6, device=CPU) == measured


def test_a_constant_network_scores_zero():
    train, test = (features(np.ones((40, 3)), (np.arange(40) % 4).tolist()) for _ in range(2))
    measured = probe(train, test, classes=4, device=CPU)
    assert (measured["top1"], measured["chance"]) == (0, 0.25)
    assert "top5" not in measured


@pytest.mark.parametrize("probe_function", [probe, linear.probe, attentive.probe])
def test_a_probe_without_readable_training_videos_is_an_error(probe_function):
    lost = Features(["a", "b"], np.zeros(2, np.int64), np.full((2, 3), np.nan, np.float32), {"a": "gone", "b": "cut"})
    with pytest.raises(UserError, match="0 of 2 training videos can be read, the first a: gone"):
        probe_function(lost, features(np.ones((3, 3)), [0, 0, 0]), classes=1, device=CPU)


def test_the_protocol_prints_top_5_below_top_1(vp9_store, tmp_path, monkeypatch):
    test, train = random_sets()
    facts = {"queries": 300, "gallery": 87, "unreadable": {"queries": {}, "gallery": {}}}
    sets = Sets(vp9_store, train, vp9_store, test, facts)
    monkeypatch.setattr(protocols, "features_of_both", lambda *_, **__: sets)
    monkeypatch.setattr(type(vp9_store), "class_names", property(lambda _: tuple("abcdef")))
    first, second = protocols.knn(None, None, ALONE, tmp_path).splitlines()[:2]  # type: ignore[arg-type]
    expected = probe(train, test, classes=6, device=CPU)
    assert first.startswith(f"top-1       {100 * expected['top1']:6.2f} %   (95 %: ")
    assert second == f"top-5       {100 * expected['top5']:6.2f} %"
