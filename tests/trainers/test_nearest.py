"""Nearest-neighbor search against slow loops and closed forms."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from configs.errors import UserError
from tests.helpers.features import features, random_sets, shuffled
from trainers.evaluation.features import Features, chance
from trainers.evaluation.retrieval import KS, Nearest, search


def slow_ranks(queries: Features, gallery: Features) -> list[float]:
    """Return for each query the rank, from 1, of the first gallery video of its class; infinity if there is none."""

    def centered(one: Features) -> list[np.ndarray | None]:
        values = [None if np.isnan(v).any() else v.astype(np.float64) for v in one.values]
        mean = sum(v for v in values if v is not None) / sum(v is not None for v in values)
        return [None if v is None else v - mean for v in values]

    places, shown = [], centered(gallery)
    for test_x, label in zip(centered(queries), queries.labels, strict=True):
        place = np.inf
        if test_x is not None:
            found = [
                (float(v @ test_x) / float(np.sqrt(v @ v) * np.sqrt(test_x @ test_x)), own == label)
                for v, own in zip(shown, gallery.labels, strict=True)
                if v is not None
            ]
            same = [own for _, own in sorted(found, reverse=True)]
            place = same.index(True) + 1 if True in same else np.inf
        places.append(place)
    return places


def test_recall_matches_a_slow_loop():
    queries, gallery = random_sets()
    found, places = search(queries, gallery), slow_ranks(queries, gallery)
    assert {place == np.inf for place in places} == {True, False}
    for k in KS:
        assert (found.ahead < k).tolist() == [place <= k for place in places]


def test_nearest_neighbors_match_a_sort_by_cosine():
    queries, gallery = random_sets()
    found, readable_rows = search(queries, gallery), np.flatnonzero(gallery.readable)
    a = queries.values[30] - queries.values[queries.readable].mean(0)
    b = gallery.values[readable_rows] - gallery.values[readable_rows].mean(0)
    cosines = torch.nn.functional.cosine_similarity(torch.from_numpy(b), torch.from_numpy(a)[None])
    top = cosines.topk(10)
    assert found.rows[30].tolist() == readable_rows[top.indices].tolist()
    assert found.cosines[30] == pytest.approx(top.values.numpy(), abs=1e-5)
    assert (found.rows[5] == -1).all()  # query 5 is unreadable
    assert np.isnan(found.cosines[5]).all()


def test_each_set_is_centered_by_its_own_mean():
    """Two sets of four directions lie far from the origin on opposite sides: uncentered, all cosines are near -1."""
    unit_vectors = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float64)
    gallery = features(np.add(unit_vectors, [50, 20]), [0, 1, 2, 3])
    queries = features(3 * unit_vectors[[1, 0, 3, 2]] - np.array([40, 90]), [1, 0, 3, 0])
    found = search(queries, gallery)
    assert found.rows[:, 0].tolist() == [1, 0, 3, 2]
    assert found.cosines[0] == pytest.approx([1, 0, 0, -1], abs=1e-6)
    assert found.ahead.tolist() == [0, 0, 0, 3]  # the last query's class is opposite
    assert found.rows[0].tolist() == [1, 0, 2, 3]  # ties by name


def test_ties_count_against_the_right_class():
    values = np.array([[1, 0], [1, 0], [-1, 0], [-1, 0]], np.float64)
    queries = features(values, [0, 0, 1, 2])
    for labels in ([0, 9, 1, 1], [9, 0, 1, 1]):
        found = search(queries, features(values, labels))
        assert found.ahead.tolist() == [1, 1, 0, 4]
    same_of_all = features(np.ones((4, 2)), [0, 1, 2, 3])
    assert (search(queries, same_of_all).ahead == [3, 3, 3, 3]).all()


def test_results_do_not_depend_on_the_order_of_the_sets():
    queries, gallery = random_sets()
    gallery.values[40:60] = gallery.values[60:80]  # duplicates, many of another class
    found = search(queries, gallery)

    def by_name(found: Nearest, queries: Features, gallery: Features) -> dict[str, str]:
        names = np.array([*gallery.names, "none"])
        near = (names[found.rows].tolist(), found.cosines.tolist(), found.ahead.tolist())
        return {name: str(found) for name, found in zip(queries.names, zip(*near, strict=True), strict=True)}

    for seed in range(3):
        others = shuffled(queries, seed), shuffled(gallery, 100 + seed)
        assert by_name(search(*others), *others) == by_name(found, queries, gallery)


def test_chance_is_the_share_of_pairs_with_equal_class():
    queries, gallery = random_sets()
    labels = gallery.labels[gallery.readable].tolist()
    pairs = [a == b for a, b in product(queries.labels.tolist(), labels)]
    assert chance(queries, gallery) == pytest.approx(sum(pairs) / len(pairs))
    even = features(np.zeros((40, 2)), [row % 8 for row in range(40)])
    assert chance(even, even) == pytest.approx(1 / 8)


def test_a_gallery_without_readable_videos_is_an_error():
    lost = replace(features(np.full((2, 3), np.nan), [0, 1]), unreadable=dict.fromkeys(("v000", "v001"), "gone"))
    with pytest.raises(UserError, match="0 of 2 training videos can be read, the first v000: gone"):
        search(features(np.ones((3, 3)), [0, 0, 1]), lost)
