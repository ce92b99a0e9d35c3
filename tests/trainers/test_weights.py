"""Weights of runs, checkpoints and exports: their metadata, and errors when they do not fit."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from configs import plugins
from configs.errors import UserError
from configs.load import parse
from nets.backbones import create
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.runs import RECIPE
from trainers.commands import finetune, pretrain
from trainers.engine import checkpoint
from trainers.weights import classifier_weights, clip_facts, load, read
from trainers.weights.export import export


@pytest.fixture(autouse=True)
def forget_named_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget packages that earlier tests of this process trusted."""
    monkeypatch.setattr(plugins, "_named", set())


CLASSIFIER = """
task: recognition
backbone: r3d_tiny
work_dir: {folder}/classifier
data: {{root: {root}, workers: 0, threads: 1}}
plan: {{num_frames: 8, stride: 3, size: 64, short_sides: [64], test: {{clips: 2, short_side: 70}}}}
validation: {{share: 0.3}}
train: {{epochs: 1, global_batch: 4, log_every: 1}}
"""


@pytest.fixture(scope="module")
def runs(vp9_store, tmp_path_factory) -> Path:
    """Return a folder with a pretext run of two steps in "pretext" and a one-epoch classifier in "classifier"."""
    folder = tmp_path_factory.mktemp("weights")
    texts = {
        "pretext": RECIPE.format(work_dir=folder / "pretext", root=vp9_store.root),
        "classifier": CLASSIFIER.format(folder=folder, root=vp9_store.root),
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    options = ["--device", "cpu", "--config"]
    pretrain.main([*options, str(folder / "pretext.yaml"), "--max-steps", "2", "--set", "train.checkpoint_every=1"])
    finetune.main([*options, str(folder / "classifier.yaml"), "--mode", "scratch"])
    return folder


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_work_dir_means_its_newest_checkpoint(runs):
    newest = runs / "pretext" / "checkpoints" / "step_00000002.pt"
    weights = read(runs / "pretext")
    content = torch.load(newest, weights_only=True)
    assert (weights.path, weights.backbone, weights.step, weights.classes) == (newest, "r3d_tiny", 2, ())
    assert same(weights.model, content["model"])
    assert not same(weights.model, read(newest.with_name("step_00000001.pt")).model)
    assert weights.clip == {"num_frames": 8, "strides": [1, 2], "size": 64, "normalization": "imagenet"}
    assert weights.config is not None
    assert weights.config.task == "ctp"
    assert weights.sha256 == hashlib.sha256(newest.read_bytes()).hexdigest()


def test_weights_keep_name_and_digest_of_a_removed_file(runs, tmp_path):
    copy = Path(shutil.copy(runs / "pretext" / "checkpoints" / "step_00000002.pt", tmp_path))
    digest, weights = hashlib.sha256(copy.read_bytes()).hexdigest(), read(copy)
    copy.unlink()
    assert weights.facts == {"checkpoint": str(copy), "sha256": digest, "backbone": "r3d_tiny", "step": 2}


def test_best_of_finetuning_is_a_classifier_with_its_classes(runs):
    weights = read(str(runs / "classifier" / "checkpoints" / "best.pt"))
    recipe = classifier_weights(weights)
    assert (weights.classes, weights.step) == (("class0", "class1"), 2)  # 8 of 12 videos, 4 per step
    assert weights.clip == {"num_frames": 8, "strides": [3], "size": 64, "normalization": "imagenet"}
    assert weights.views() == recipe.plan
    assert weights.views().test.short_side == 70


def test_a_backbone_gets_all_weights_of_the_checkpoint(tmp_path):
    net = write_checkpoint(tmp_path / "a.pt")
    fresh = create("r3d_tiny").eval()
    clips = torch.randn(1, 3, 8, 64, 64)
    assert not torch.equal(fresh(clips), net(clips))
    read(tmp_path / "a.pt").load_backbone(fresh, "r3d_tiny")
    assert torch.equal(fresh(clips), net(clips))


def test_a_mismatched_backbone_is_refused_with_both_shapes(tmp_path):
    write_checkpoint(tmp_path / "a.pt")
    with pytest.raises(UserError) as caught:
        read(tmp_path / "a.pt").load_backbone(create("r3d18"), "r3d18")
    text = str(caught.value)
    assert f"the r3d_tiny of {tmp_path / 'a.pt'} does not fit the recipe's r3d18: it has stem.0.weight (16, 3" in text
    assert "the recipe's r3d18 has stem.0.weight (64, 3" in text


def test_missing_and_extra_tensors_are_refused():
    state = nn.Linear(2, 3).state_dict()
    for wrong, message in {
        "missing": "theirs does not fit ours: it has no bias, ours has bias (3,)",
        "left over": "theirs does not fit ours: it has scale (1,), ours has no scale",
    }.items():
        given = {"weight": state["weight"]} if wrong == "missing" else state | {"scale": torch.ones(1)}
        linear = nn.Linear(2, 3)
        before = {key: value.clone() for key, value in linear.state_dict().items()}
        with pytest.raises(UserError) as caught:
            load(linear, given, "theirs", "ours")
        assert message in str(caught.value)
        assert same(linear.state_dict(), before)


def test_a_damaged_newest_checkpoint_is_skipped_but_a_damaged_file_refused(runs, tmp_path, capsys):
    shutil.copytree(runs / "pretext", tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step_00000002.pt"
    newest.write_bytes(newest.read_bytes()[:5000])
    weights = read(tmp_path / "run")
    assert (weights.step, weights.path.name) == (1, "step_00000001.pt")
    assert f"checkpoint {newest} is damaged" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"step_00000002.pt is damaged"):
        read(newest)


def test_paths_without_checkpoint_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no checkpoint; give the work dir of a run, or a checkpoint's"):
        read(tmp_path / "empty")
    with pytest.raises(UserError, match=r"no such checkpoint: .*nowhere"):
        read(tmp_path / "nowhere")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt is not a checkpoint of clipfeed"):
        read(tmp_path / "other.pt")


def test_checkpoints_without_classifier_are_refused(tmp_path):
    write_checkpoint(tmp_path / "a.pt")
    pretext = read(tmp_path / "a.pt")
    with pytest.raises(
        UserError, match=r"a.pt is of the task ctp and has no classifier: finetune it with clipfeed finetune"
    ):
        classifier_weights(pretext)
    export(pretext, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a.safetensors is an exported backbone and has no classifier"):
        classifier_weights(read(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("task", "plan", "strides", "views"),
    [
        ("ctp", "{}", [1, 2, 3, 4, 5], (16, 2, 112, 128, "imagenet")),
        ("ctp", "{num_frames: 8, strides: [4, 3], size: 56}", [4, 3], (8, 3, 56, 64, "imagenet")),
        ("dpc", "{}", [3], (5, 3, 128, 146, "imagenet")),  # rounded from 146.3
        ("cstp", "{}", [1, 2, 4, 8], (16, 2, 112, 128, "half")),  # specs/cstp.md 1.1
        ("vcop", "{}", [1], (16, 1, 112, 128, "imagenet")),
        ("speednet", "{}", [1, 2, 4], (16, 2, 112, 128, "imagenet")),
        ("concepts", "{}", [1, 2, 3], (16, 2, 128, 146, "imagenet")),
        ("concepts", "{max_speed: 1.9}", [1], (16, 1, 128, 146, "imagenet")),
    ],
)
def test_views_of_a_pretext_network_are_like_its_clips(tmp_path, task, plan, strides, views):
    text = f"{{task: {task}, backbone: r3d_tiny, work_dir: w, data: {{root: r}}, plan: {plan}, train: {{epochs: 1}}}}"
    config = parse(text, source="test")
    assert clip_facts(config)["strides"] == strides
    checkpoint.write(tmp_path / "a.pt", {"config": text, "model": {}})
    found = read(tmp_path / "a.pt").views()
    assert (found.num_frames, found.stride, found.size, found.test.short_side, found.normalization) == views
    assert (found.test.clips, found.test.crops) == (10, "center")


@pytest.mark.parametrize("named", [{"backbone": "os.path.join"}, {"task": "evil_pkg.task"}])
def test_packages_named_by_a_checkpoint_need_trust(tmp_path, monkeypatch, named):
    """Importing a package runs its code."""
    (tmp_path / "evil_pkg").mkdir()
    (tmp_path / "evil_pkg" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    write_checkpoint(tmp_path / "step.pt")
    content = checkpoint.read(tmp_path / "step.pt")
    for key, name in named.items():
        content["config"] = content["config"].replace(*{"task": ("ctp", name), "backbone": ("r3d_tiny", name)}[key], 1)
        package = name.partition(".")[0]
    checkpoint.write(tmp_path / "step.pt", content)
    with pytest.raises(UserError, match=rf"step.pt's config names {name}, .* set CLIPFEED_TRUST={package}"):
        read(tmp_path / "step.pt")
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv("CLIPFEED_TRUST", f"/data,{package}")
    if package == "os":
        assert read(tmp_path / "step.pt").backbone == name
    else:
        with pytest.raises(UserError, match=r"cannot import evil_pkg\.task\.data"):
            read(tmp_path / "step.pt")
        assert (tmp_path / "ran").exists()


def test_packages_named_by_an_export_are_not_imported(tmp_path):
    write_checkpoint(tmp_path / "step.pt")
    export(read(tmp_path / "step.pt"), tmp_path / "hub")
    facts = tmp_path / "hub" / "config.json"
    facts.write_text(facts.read_text().replace("r3d_tiny", "my_pkg.net.make"))
    with pytest.raises(UserError, match=r"config.json names my_pkg.net.make, .* set CLIPFEED_TRUST=my_pkg"):
        read(tmp_path / "hub")


def test_packages_named_by_the_users_recipe_are_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr("configs.plugins._named", set())
    text = RECIPE.format(root="x", work_dir="x").replace("r3d_tiny", "nets.backbones.anything")
    with pytest.raises(UserError, match="CLIPFEED_TRUST=nets"):
        parse(text, source="theirs", own=False)
    parse(text, source="mine")
    assert parse(text, source="theirs", own=False).backbone == "nets.backbones.anything"
