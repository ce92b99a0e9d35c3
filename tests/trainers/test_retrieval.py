"""Output of retrieval and the probes: consistent files, on one rank and on two, and unreadable videos."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

from configs.errors import UserError
from dali_pipelines.draw import GAP
from tests.helpers.features import features
from tests.helpers.ranks import ALONE, two_ranks
from tests.helpers.results import rows
from tests.helpers.retrieval import TEST, TRAIN, load_recipe, random_weights, recipe
from tests.helpers.runs import ROOT
from trainers.commands import test as test_command
from trainers.engine.distributed import Ranks
from trainers.evaluation import attentive, contact_sheet, protocols
from trainers.evaluation.intervals import wilson
from trainers.evaluation.saved_features import Sets


@pytest.fixture(scope="module")
def whole(vp9_store, tmp_path_factory) -> SimpleNamespace:
    """Return a recipe, a checkpoint, and the files and text of a retrieval with them."""
    folder = tmp_path_factory.mktemp("retrieval")
    path = recipe(folder, vp9_store.root)
    weights = random_weights(folder, load_recipe(path))
    text = protocols.retrieval(weights, load_recipe(path), ALONE, folder / "out")
    return SimpleNamespace(folder=folder, recipe=path, weights=weights, text=text, **results(folder / "out"))


def results(out: Path) -> dict[str, Any]:
    return {"json": json.loads((out / "retrieval.json").read_text()), "rows": rows(out / "neighbors.csv")}


def test_result_files_and_printed_text_agree(whole):
    first = [row for row in whole.rows if row["rank"] == "1"]
    assert sorted(row["query"] for row in first) == sorted(TEST)
    assert len(whole.rows) == len(TEST) * len(TRAIN)
    assert all(row["same"] == str(int(row["class"] == row["nearest_class"])) for row in whole.rows)
    right = sum(int(row["same"]) for row in first)
    assert whole.json["recall"]["1"] == right / 4
    assert whole.json["recall_1_interval"] == pytest.approx(wilson(right, 4))
    assert [*whole.json["recall"]] == ["1", "5"]  # the gallery has 6 videos
    assert whole.json["chance_1"] == 0.5
    assert (whole.json["queries"], whole.json["gallery"], whole.json["sha256"]) == (4, 6, whole.weights.sha256)
    assert f"R@1         {100 * right / 4:6.2f} %" in whole.text
    assert "R@10" not in whole.text


def test_borders_are_green_exactly_for_equal_classes(whole):
    picture = np.array(Image.open(whole.folder / "out" / "neighbors.png").convert("RGB")).astype(int)
    margin = 2 * GAP
    width = contact_sheet.THUMB[0] + 2 * contact_sheet.BORDER + GAP
    dark = (picture[:, margin] == 0).all(1)
    starts = [y for y in range(1, len(dark) - 40) if dark[y : y + 40].all() and not dark[y - 1]]
    assert len(starts) == len(TEST)
    for y, query in zip(starts, sorted(TEST, key=lambda name: name[:6]), strict=True):  # by class
        same = [int(row["same"]) for row in whole.rows if row["query"] == query]
        red, green, _ = picture[y + 10, margin + width * np.arange(1, 7)].T
        assert (green > red).astype(int).tolist() == same


@pytest.mark.parametrize(
    ("protocol", "options", "crops"),
    [
        ("retrieval", (), "center"),
        ("linear", (), "center"),
        ("knn", (), "center"),
        ("attentive", (), "center"),
        ("video", (), "ten"),
        ("retrieval", ("--crops", "three"), "three"),
        ("retrieval", ("--set", "plan.test.crops=ten"), "ten"),
    ],
)
def test_features_come_from_center_crops_for_any_recipe(protocol, options, crops):
    """specs/evaluation.md 6, with Concepts' recipe."""
    trained: Any = SimpleNamespace(config=None, path="p", backbone="r2plus1d10")
    args = ("--checkpoint", "p", "--config", "recognition/concepts_r2plus1d10_ucf101", "--protocol", protocol, *options)
    config = test_command.recipe(trained, test_command.make_parser().parse_args(args))
    assert config.plan.test.crops == crops
    assert config.plan.test.clips == "windows"


@pytest.mark.slow
def test_results_do_not_depend_on_ranks_or_list_order(whole, vp9_store, tmp_path):
    path = recipe(tmp_path, vp9_store.root, TRAIN[::-1], [*TEST[2:], *TEST[:2]])
    shutil.copy(whole.weights.path, tmp_path)
    arguments = ("--config", path, "--checkpoint", tmp_path / "random.pt", "--device", "cpu")
    options = (*arguments, "--protocol", "retrieval", "--out", tmp_path)
    statuses, output = two_ranks(ROOT / "trainers" / "test.py", tmp_path, *options)
    assert statuses == [0, 0]
    assert whole.text.splitlines()[:-1] == output.splitlines()[-len(whole.text.splitlines()) : -1]
    again = results(tmp_path)
    figures = ("recall", "recall_1_interval", "chance_1", "queries", "gallery", "unreadable", "sha256", "plan")
    assert {name: again["json"][name] for name in figures} == {name: whole.json[name] for name in figures}
    in_order = [
        sorted(found, key=lambda row: (row["query"], int(row["rank"]))) for found in (again["rows"], whole.rows)
    ]
    for ours, theirs in zip(*in_order, strict=True):
        assert float(ours.pop("cosine")) == pytest.approx(float(theirs["cosine"]), abs=1e-4)
        assert ours == {name: value for name, value in theirs.items() if name != "cosine"}


def test_unreadable_queries_are_misses_and_gallery_videos_left_out(whole, own_store, tmp_path):
    path_of = dict(zip(own_store.names.texts(), map(own_store.path, range(len(own_store))), strict=True))
    path_of[TEST[0]].write_bytes(b"")
    path_of[TRAIN[2]].unlink()
    config = load_recipe(recipe(tmp_path, own_store.root))
    text = protocols.retrieval(whole.weights, config, ALONE, tmp_path / "out")
    assert f"(queries, counted as misses: {TEST[0]})" in text
    assert f"(gallery, left out: {TRAIN[2]})" in text
    found = results(tmp_path / "out")
    assert [*found["json"]["unreadable"]["queries"]] == [TEST[0]]
    assert [*found["json"]["unreadable"]["gallery"]] == [TRAIN[2]]
    assert found["json"]["gallery"] == 5

    rest = [name for name in TRAIN if name != TRAIN[2]]
    config = load_recipe(recipe(tmp_path, own_store.root, rest, TEST[1:]))
    protocols.retrieval(whole.weights, config, ALONE, tmp_path / "without")
    without = results(tmp_path / "without")
    assert found["json"]["recall"] == {k: share * 3 / 4 for k, share in without["json"]["recall"].items()}
    assert found["json"]["recall"]["5"] > 0
    missed = {"query": TEST[0], "class": "class1"} | dict.fromkeys(("rank", "nearest", "nearest_class", "same"), "")
    assert found["rows"] == [missed | {"cosine": ""}, *without["rows"]]


def test_a_video_in_both_sets_is_an_error(whole, vp9_store, tmp_path):
    config = load_recipe(recipe(tmp_path, vp9_store.root, [*TRAIN, TEST[1]]))
    with pytest.raises(UserError, match=f"1 of 4 test videos also in the training list, the first {TEST[1]}"):
        protocols.retrieval(whole.weights, config, ALONE, tmp_path / "out")


@pytest.mark.parametrize("name", ["linear", "knn", "attentive"])
def test_a_probe_counts_unreadable_test_videos_as_wrong(vp9_store, tmp_path, monkeypatch, name):
    rng = np.random.default_rng(0)
    train = np.arange(40) % 2
    test = np.arange(20) % 2
    x, test_x = (np.outer(labels - 0.5 + rng.normal(scale=0.1, size=len(labels)), (1, -1)) for labels in (train, test))
    test_x[3] = np.nan
    test_x[[4, 6]] *= -1  # two videos of class 0 look like class 1
    facts = {"queries": 20, "gallery": 40, "unreadable": {"queries": {"v003": "gone"}, "gallery": {}}}
    if name == "attentive":
        monkeypatch.setattr(attentive, "SETTINGS", ((3e-2, 0.0),))
        x, test_x = x[:, None].repeat(3, 1), test_x[:, None].repeat(3, 1)
    sets = Sets(vp9_store, features(x, train.tolist()), vp9_store, features(test_x, test.tolist()), facts)
    monkeypatch.setattr(
        protocols, "features_of_both", lambda *_, tokens=False: sets if tokens == (name == "attentive") else None
    )
    text = getattr(protocols, name)(None, None, ALONE, tmp_path)
    measured = json.loads((tmp_path / f"{name}.json").read_text())
    assert (measured["top1"], measured["chance"], measured.get("k")) == (17 / 20, 0.5, 20 if name == "knn" else None)
    assert measured["interval"] == pytest.approx(wilson(17, 20))
    assert "top-1        85.00 %   (95 %: " in text
    assert "1     (queries, counted as wrong: v003)" in text


@pytest.mark.parametrize("rank", [0, 1])
def test_the_group_ends_before_rank_0_searches_or_fits(monkeypatch, tmp_path, rank):
    events = []

    def extract(*_, **__):
        events.append("features")
        return MagicMock()

    def run_alone(*_, **__):
        events.append("alone")
        raise ZeroDivisionError

    monkeypatch.setattr(protocols, "features_of_both", extract)
    monkeypatch.setattr(Ranks, "end_group", lambda _: events.append("group ended"))
    monkeypatch.setattr(protocols, "write_retrieval", run_alone)
    for name in ("linear_probe", "knn_probe", "attentive_probe"):
        monkeypatch.setattr(protocols, name, run_alone)
    ranks = Ranks(torch.device("cpu"), rank, world_size=2)
    for protocol in (protocols.retrieval, protocols.linear, protocols.knn, protocols.attentive):
        events.clear()
        with nullcontext() if rank else pytest.raises(ZeroDivisionError):
            assert protocol(None, None, ranks, tmp_path) == ""  # type: ignore[arg-type]
        assert events == ["features", "group ended"] + ["alone"] * (rank == 0)
