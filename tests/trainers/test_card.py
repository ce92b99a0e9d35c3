"""Model cards contain what the run knows, and nothing about the machine it ran on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.helpers.checkpoints import write_checkpoint
from trainers.engine.work_dir import write_config
from trainers.weights import Weights, read
from trainers.weights.export import export


@pytest.fixture
def run(tmp_path) -> Path:
    """Return the work dir of a run with a checkpoint of step 6."""
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    write_checkpoint(checkpoints / "step_00000006.pt")
    return tmp_path / "run"


def card_of(weights: Weights, folder: Path) -> str:
    export(weights, folder)
    return (folder / "README.md").read_text()


def head_of(card: str) -> dict:
    start, head, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head)


def test_metadata_is_what_hugging_face_reads(run, tmp_path):
    card = card_of(read(run), tmp_path / "hub")
    assert head_of(card) == {
        "license": "unknown",
        "library_name": "clipfeed",
        "pipeline_tag": "feature-extraction",
        "tags": ["video", "self-supervised-learning", "ctp", "r3d_tiny"],
    }
    hub = pytest.importorskip("huggingface_hub")
    parsed = hub.ModelCard(card)
    assert (parsed.data.license, parsed.data.library_name) == ("unknown", "clipfeed")
    assert parsed.text.lstrip().startswith("# r3d_tiny, trained with ctp")


def test_the_cards_three_lines_load_the_backbone(run, tmp_path, monkeypatch):
    card = card_of(read(run), tmp_path / "hub")
    (code,) = (part.split("\n```")[0] for part in card.split("```python\n")[1:])
    assert len(code.splitlines()) == 3
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    expected = read(run).model
    for key, value in names["backbone"].state_dict().items():
        assert value.equal(expected[f"backbone.{key}"])


def test_local_paths_stay_out(run, tmp_path):
    weights = read(run)
    assert weights.config
    data = replace(weights.config.data, root="/home/someone/secret/ucf", list="/home/someone/lists/train.txt")
    card = card_of(
        replace(weights, config=replace(weights.config, data=data, work_dir="/home/someone/w")), tmp_path / "hub"
    )
    assert "those videos of ucf that train.txt names" in card
    assert "someone" not in card


def test_missing_measurements_are_stated(run, tmp_path):
    assert "None: nothing has been measured" in card_of(read(run), tmp_path / "hub")


def test_only_measurements_of_these_weights_are_listed(run, tmp_path):
    weights = read(run)
    found = {"data": {"root": "x/ucf"}, "queries": 40, "notes": ["a class is missing"], "sha256": weights.sha256}
    recall = {"recall": {"1": 0.25}, "recall_1_interval": [0.14, 0.4], "chance_1": 0.125}
    other = {"top1": 0.99, "interval": [0.9, 1.0], "chance": 0.125, "sha256": "of another"}
    for name, content in {"retrieval": found | recall, "linear": found | other}.items():
        folder = run / f"test_{name}"
        folder.mkdir()
        (folder / f"{name}.json").write_text(json.dumps(content))
    card = card_of(weights, tmp_path / "hub")
    assert "| R@1 | 40 videos of ucf | 25.0 % | 14.0 % to 40.0 % | 12.5 % |\n\n- a class is missing\n" in card
    assert "99.0 %" not in card


def test_training_figures_are_means_of_the_last_tenth_before_the_checkpoint(run, tmp_path):
    weights = replace(read(run), run="abc", step=20)
    lines = [{"step": step, "loss": float(step), "iou": 0.5, "chance": 0.25} for step in range(1, 25)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "| loss |" not in card_of(weights, tmp_path / "before")  # may be from another run
    assert weights.config is not None
    write_config(run, weights.config, "abc")
    card = card_of(weights, tmp_path / "hub")
    where = "training videos, mean of 2 logged steps up to 20"
    assert f"| loss | {where} | 19.5 |  |  |\n| iou | {where} | 0.5 |  | 0.25 |" in card


def test_an_import_states_what_is_unknown(run, tmp_path):
    card = card_of(replace(read(run), origin="ctp", step=0), tmp_path / "hub")
    assert "Imported from a checkpoint of ctp, which tells neither its data nor its steps." in card


def test_hostile_names_are_escaped(run, tmp_path):
    """Names with a line that would end the recipe's code block, and with HTML."""
    weights = read(run)
    assert weights.config
    hostile = "x\n\n  ```\n\n  <script>alert(1)<"
    config = replace(weights.config, work_dir=hostile, data=replace(weights.config.data, root=hostile))
    card = card_of(replace(weights, config=config), tmp_path / "hub")
    before, recipe = card.split("````yaml\n")
    assert "<script" not in before
    assert recipe.split("\n````\n")[0].count("<script>") == 2


def test_a_card_is_utf_8_though_a_folder_is_not(run, tmp_path):
    weights = read(run)
    assert weights.config
    config = replace(weights.config, data=replace(weights.config.data, root="/data/vid\udce9os"))
    export(replace(weights, config=config), tmp_path / "hub")
    assert "4 videos each, on vid\\udce9os." in (tmp_path / "hub" / "README.md").read_bytes().decode()
