"""Scores of whole videos against plain torch on the same clips, and metrics against slow references."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from configs.schema import Data
from dali_pipelines.store.index import Index
from dali_pipelines.tasks.recognition import Config, Test
from nets.backbones import create
from nets.classifier import Classifier
from nets.classifier import Config as NetConfig
from tests.helpers.ranks import ALONE
from tests.helpers.scores import slow_scores
from trainers.evaluation.predict import Predictions, cross_entropy, predict, top_k

pytestmark = pytest.mark.slow

CLIPS = Config(num_frames=8, size=64, short_sides=(64,), test=Test(clips=3, crops="three", short_side=80))
AVERAGES: tuple[Literal["logits", "probabilities"], ...] = ("logits", "probabilities")


def classifier(classes: int = 5) -> Classifier:
    """Make an untrained but confident classifier, in eval mode."""
    torch.manual_seed(0)
    return Classifier(create("r3d_tiny"), classes, NetConfig(init_std=2.0, dropout=0.9)).eval()


def predicted(net: Classifier, index: Index, cfg: Config) -> Predictions:
    data = Data(root=str(index.root), workers=0, threads=1)
    return predict(net, index, cfg, ALONE, data, desc="test")


@pytest.fixture(scope="module")
def predictions_by_average(vp9_store) -> dict[str, Predictions]:
    configs = {average: replace(CLIPS, test=replace(CLIPS.test, average=average)) for average in AVERAGES}
    return {average: predicted(classifier(), vp9_store, cfg) for average, cfg in configs.items()}


@pytest.mark.parametrize("average", AVERAGES)
def test_scores_match_plain_torchs_means_over_clips_and_crops(predictions_by_average, vp9_store, average):
    cfg = replace(CLIPS, test=replace(CLIPS.test, average=average))
    found = predictions_by_average[average]
    assert np.allclose(found.scores, slow_scores(classifier(), vp9_store, cfg), rtol=1e-4, atol=1e-5)
    assert found.names == list(vp9_store.names.texts())
    assert found.labels.tolist() == vp9_store.labels.tolist()
    assert found.views.tolist() == [9] * len(vp9_store)


def test_averaging_probabilities_differs_from_averaging_logits(predictions_by_average):
    logits, probabilities = (predictions_by_average[average].scores for average in AVERAGES)
    assert np.allclose(probabilities.sum(1), 1)
    assert np.abs(torch.from_numpy(logits).softmax(1).numpy() - probabilities).max() > 0.001


def test_an_unreadable_video_is_named_and_has_no_score(predictions_by_average, own_store):
    store = own_store.select([0, 1, 2, 3])
    store.path(2).unlink()
    found = predicted(classifier(), store, CLIPS)
    assert list(found.unreadable) == [store.info(2).name]
    assert np.isnan(found.scores).all(1).tolist() == [False, False, True, False]
    assert found.views.tolist() == [9, 9, 0, 9]
    assert np.array_equal(found.scores[3], predictions_by_average["logits"].scores[3])


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_matches_torch(k):
    rng = np.random.default_rng(k)
    scores, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    best = torch.from_numpy(scores).topk(k, dim=1).indices
    expected = (best == torch.from_numpy(labels)[:, None]).any(1).double().mean().item()
    assert top_k(scores, labels, k) == expected
    assert expected == pytest.approx(k / 7, abs=0.15)


def test_top_k_counts_equal_scores_and_missing_ones_as_wrong():
    labels = np.array([0, 2, 1])
    assert top_k(np.zeros((3, 3)), labels, 1) == 0
    assert top_k(np.zeros((3, 3)), labels, 3) == 1
    scores = np.eye(3)[labels]
    assert top_k(scores, labels, 1) == 1
    scores[1] = np.nan
    assert [top_k(scores, labels, k) for k in (1, 3)] == [2 / 3, 2 / 3]


def test_cross_entropy_skips_unreadable_videos():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    scores[3] = np.nan
    rows = [row for row in range(20) if row != 3]
    expected = [np.log(np.exp(scores[row]).sum()) - scores[row, labels[row]] for row in rows]
    assert cross_entropy(scores, labels) == pytest.approx(np.mean(expected))
    assert np.isnan(cross_entropy(np.full((2, 4), np.nan), labels[:2]))
