"""Saved features are reused only if nothing has changed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from configs.errors import UserError
from configs.schema import Recognition
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.tasks import Task
from nets.backbones import create
from tests.helpers.ranks import ALONE
from tests.helpers.retrieval import TEST, TRAIN, load_recipe, random_weights, recipe
from tests.helpers.stores import make_store
from trainers.engine import checkpoint
from trainers.evaluation import attentive, protocols, saved_features
from trainers.evaluation.features import extract
from trainers.evaluation.notes import clip_differences
from trainers.evaluation.saved_features import features_of_both, key
from trainers.weights import Weights, read

pytestmark = pytest.mark.slow
Start = tuple[Weights, Recognition]


@pytest.fixture
def calls(monkeypatch) -> list[Index]:
    """Record the indexes whose features are extracted instead of read."""
    made = []

    def counting(backbones, index, *args, **options):
        made.append(index)
        return extract(backbones, index, *args, **options)

    monkeypatch.setattr(saved_features, "extract", counting)
    return made


@pytest.fixture
def weights_and_config(vp9_store, tmp_path) -> Start:
    config = load_recipe(recipe(tmp_path, vp9_store.root))
    return random_weights(tmp_path, config), config


def with_test(config: Recognition, **changes: object) -> Recognition:
    return replace(config, plan=replace(config.plan, test=replace(config.plan.test, **changes)))


def test_a_feature_is_the_mean_of_normalized_clip_features(weights_and_config):
    weights, config = weights_and_config
    backbone = create("r3d_tiny").eval()
    weights.load_backbone(backbone, "r3d_tiny")
    sets = features_of_both(weights, config, ALONE)
    assert sets.queries.names == TEST
    (batch,) = ClipLoader(sets.queries_index, Task("evaluation", config.plan), batch_size=4, shuffle=False)
    for place, clips in enumerate(batch["clips"]):  # (1 crop, 2 clips, 3, T, H, W)
        with torch.no_grad():
            maps = [backbone(clip[None]) for clip in clips[0]]
        pooled = torch.stack([normalize(one.mean((2, 3, 4)))[0] for one in maps])
        assert len(pooled) == 2
        assert sets.queries.values[place] == pytest.approx(pooled.mean(0).numpy(), abs=1e-5)


def test_protocols_share_saved_features(weights_and_config: Start, calls, tmp_path, capsys):
    protocols.retrieval(*weights_and_config, ALONE, tmp_path / "first")
    assert [len(index) for index in calls] == [len(TRAIN), len(TEST)]
    protocols.retrieval(*weights_and_config, ALONE, tmp_path / "second")
    protocols.linear(*weights_and_config, ALONE, tmp_path / "linear")
    assert len(calls) == 2
    first, second = (tmp_path / name for name in ("first", "second"))
    assert sorted(path.name for path in first.iterdir()) == ["neighbors.csv", "neighbors.png", "retrieval.json"]
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
    assert "note: the features of 6 videos are those saved in " in capsys.readouterr().out


def test_the_attentive_probe_saves_no_features(weights_and_config: Start, tmp_path, monkeypatch):
    monkeypatch.setattr(attentive, "MIN_STEPS", 30)
    protocols.attentive(*weights_and_config, ALONE, tmp_path / "out")
    measured = json.loads((tmp_path / "out" / "attentive.json").read_text())
    assert (measured["queries"], measured["gallery"], measured["sha256"]) == (4, 6, weights_and_config[0].sha256)
    assert measured["top1"] in (0, 0.25, 0.5, 0.75, 1)
    assert not (tmp_path / "features").exists()
    sets = features_of_both(*weights_and_config, ALONE, tokens=True)
    assert (sets.queries.values.ndim, sets.queries.names) == (3, TEST)


def test_another_checkpoint_has_its_own_features(weights_and_config: Start, calls, tmp_path):
    before = features_of_both(*weights_and_config, ALONE)
    after = features_of_both(random_weights(tmp_path, weights_and_config[1], seed=1), weights_and_config[1], ALONE)
    assert len(calls) == 4
    assert not np.allclose(before.queries.values, after.queries.values)


def test_other_clips_or_lists_are_computed_again(weights_and_config: Start, calls, vp9_store, tmp_path):
    weights, config = weights_and_config
    features_of_both(*weights_and_config, ALONE)
    for changed in (
        replace(config, plan=replace(config.plan, stride=1)),
        with_test(config, clips=1),
        with_test(config, crops="three"),
    ):
        before = len(calls)
        features_of_both(weights, changed, ALONE)
        assert len(calls) == before + 2
    before = len(calls)
    features_of_both(weights, load_recipe(recipe(tmp_path, vp9_store.root, TRAIN[::-1])), ALONE)
    assert [index.names.texts() for index in calls[before:]] == [tuple(TRAIN[::-1])]  # the test list is unchanged


def test_keys_depend_on_files_folder_and_names_of_the_dataset(vp9_store, tmp_path):
    shutil.copytree(vp9_store.root, tmp_path / "copy")
    again = make_store(tmp_path / "again", gop=4)
    plan = load_recipe(recipe(tmp_path, vp9_store.root)).plan
    keys = {key("0", replace(index, root=vp9_store.root), plan) for index in (vp9_store, Index.load(tmp_path / "copy"))}
    assert len(keys) == 1
    assert key("0", replace(again, root=vp9_store.root), plan) not in keys
    assert key("0", Index.load(tmp_path / "copy"), plan) not in keys  # another folder
    renamed = vp9_store.with_columns(names=Ragged.of_texts(vp9_store.names.texts()[::-1]))
    assert key("0", renamed, plan) not in keys


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "rows"])
def test_a_damaged_file_is_computed_again_with_a_note(weights_and_config: Start, calls, damage, tmp_path, capsys):
    before = features_of_both(*weights_and_config, ALONE)
    for path in (tmp_path / "features").iterdir():
        content = bytearray(path.read_bytes())
        if damage == "cut":
            path.write_bytes(content[:-100])
        elif damage == "flipped":
            content[len(content) // 2] ^= 255
            path.write_bytes(content)
        elif damage == "text":
            path.write_text("not features")
        else:
            np.savez(path, values=np.zeros((99, 3), np.float32))
    capsys.readouterr()
    after = features_of_both(*weights_and_config, ALONE)
    assert len(calls) == 4
    assert capsys.readouterr().out.count("are damaged (") == 2
    assert np.array_equal(before.gallery.values, after.gallery.values)
    features_of_both(*weights_and_config, ALONE)
    assert len(calls) == 4


def test_features_are_not_saved_if_a_video_is_unreadable(weights_and_config: Start, calls, own_store, tmp_path):
    lost = own_store.path(own_store.names.texts().index(TEST[1]))
    lost.rename(tmp_path / "aside.mp4")
    config = load_recipe(recipe(tmp_path, own_store.root))
    first = features_of_both(weights_and_config[0], config, ALONE)
    assert [*first.queries.unreadable] == [TEST[1]]
    (tmp_path / "aside.mp4").rename(lost)
    second = features_of_both(weights_and_config[0], config, ALONE)
    assert [len(index) for index in calls] == [6, 4, 4]
    assert second.queries.readable.all()
    assert np.array_equal(second.queries.values[0], first.queries.values[0])


def test_an_unwritable_folder_costs_only_a_note(weights_and_config: Start, tmp_path, capsys):
    (tmp_path / "features").write_text("in the way")
    assert features_of_both(*weights_and_config, ALONE).gallery.readable.all()
    assert f"cannot be saved in {tmp_path / 'features'}: " in capsys.readouterr().out


def test_overflowing_features_are_an_error_and_not_saved(weights_and_config: Start, tmp_path):
    path: Path = weights_and_config[0].path
    content = checkpoint.read(path)
    next(iter(content["model"].values())).fill_(3e38)
    checkpoint.write(path, content)
    with pytest.raises(UserError, match=f"features of 6 of 6 videos are not finite, the first {TRAIN[0]}: "):
        features_of_both(read(path), weights_and_config[1], ALONE)
    assert not (tmp_path / "features").exists()


def test_classes_without_a_training_video_are_noted(vp9_store, tmp_path, capsys):
    config = load_recipe(recipe(tmp_path, vp9_store.root, TRAIN[::2], TEST))
    features_of_both(random_weights(tmp_path, config), config, ALONE)
    note = "no training video of 1 of 2 classes (class1); 2 test videos of such a class"
    assert f"note: {note}\n" in capsys.readouterr().out


def test_reference_switches_change_the_features(weights_and_config):
    """One random clip per gallery video, and color jitter in three of ten clips (specs/evaluation.md 6)."""
    weights, config = weights_and_config
    reference = config.plan.test.reference
    plain = features_of_both(weights, config, ALONE)
    random = features_of_both(weights, with_test(config, reference=replace(reference, gallery_random_clip=True)), ALONE)
    assert np.array_equal(random.queries.values, plain.queries.values)
    assert np.linalg.norm(random.gallery.values, axis=1) == pytest.approx(1, abs=1e-5)  # of a single clip
    assert (np.linalg.norm(plain.gallery.values, axis=1) < 1 - 1e-5).all()  # mean of two clips
    jitter = features_of_both(weights, with_test(config, reference=replace(reference, jitter=True)), ALONE)
    for ours, theirs in ((jitter.queries, plain.queries), (jitter.gallery, plain.gallery)):
        changed = ~np.isclose(ours.values, theirs.values, atol=1e-5).all(1)
        assert 0 < changed.sum() < len(changed)


def test_clips_unlike_those_of_pretraining_are_noted(weights_and_config: Start, capsys):
    weights, config = weights_and_config
    clip = {"num_frames": 16, "strides": [4, 8], "normalization": "imagenet"}
    features_of_both(replace(weights, clip=clip), config, ALONE)
    printed = capsys.readouterr().out
    assert "note: plan.num_frames is 4; the network was pretrained with 16\n" in printed
    assert "note: plan.stride is 2; the network was pretrained with 4 and 8\n" in printed
    assert not clip_differences(config, {"num_frames": 4, "strides": [1, 2], "normalization": "imagenet"})
