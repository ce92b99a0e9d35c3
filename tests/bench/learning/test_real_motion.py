"""The real-motion bench: its figures against closed forms, and a small run on drawn videos."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.learning import real_data, real_job, real_motion, real_recipes, real_table
from configs.errors import UserError
from configs.load import load
from configs.options import as_overrides
from dali_pipelines.tasks import Task
from nets.tasks import pretext_tasks
from trainers.evaluation import attentive, linear
from trainers.evaluation.predict import in_top_k


def test_every_task_sees_the_same_number_of_frames_within_half_an_epoch():
    lengths, frames = np.array([3] * 500 + [200] * 2000), 320_000  # a fifth are too short for some tasks
    for task in pretext_tasks():
        changes = real_recipes.pretraining(task, frames=frames, lengths=lengths)
        config = load(f"{task}/demo", as_overrides(changes))
        plan = Task(task, config.plan)
        (frames_of_a_sample,), _ = plan.plan_schema["frames"]
        per_epoch = sum(length >= plan.min_frames for length in lengths) * frames_of_a_sample
        assert abs(config.train.epochs * per_epoch - frames) <= per_epoch / 2
        assert config.optim.lr == pytest.approx(real_recipes.SHARED["optim"]["lr"])


def test_lead_interval_matches_the_normal_interval_of_a_mean():
    """One seed and one video per cluster give the normal interval of a mean, within bootstrap error."""
    rng = np.random.default_rng(3)
    difference = rng.choice([-1, 0, 1], size=(1, 900), p=[0.1, 0.6, 0.3])
    low, high = real_table.paired_interval(difference, np.arange(900))
    error = difference.std() / np.sqrt(900)
    assert low == pytest.approx(difference.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(difference.mean() + 1.96 * error, abs=0.15 * error)


def test_videos_of_a_cluster_count_as_one():
    rng = np.random.default_rng(4)
    of_cluster = rng.choice([-1, 0, 1], size=60)
    alone = real_table.paired_interval(of_cluster[None], np.arange(60))
    copies = real_table.paired_interval(np.repeat(of_cluster, 5)[None], np.repeat(np.arange(60), 5))
    assert copies == pytest.approx(alone, abs=1e-12)


def test_differing_seeds_widen_the_interval():
    same = np.tile(np.array([1] * 50 + [0] * 50), (3, 1))
    differing = np.stack([np.ones(100), np.zeros(100), np.array([1] * 50 + [0] * 50)])
    widths = [np.diff(real_table.paired_interval(rows, np.arange(100)))[0] for rows in (same, differing)]
    assert widths[1] > 2 * widths[0]


def test_a_lead_is_over_random_weights_of_the_same_network():
    def result(name: str, backbone: str, right: str, seed: int = 0) -> dict[str, object]:
        return {"name": name, "backbone": backbone, "seed": seed, "correct": {"mocap": {"linear": right}}}

    results = [
        result("moco", "small", "1110"),
        result("moco", "small", "1111", seed=1),  # no random weights with this seed: not counted
        result("vit", "large", "1100"),
        result("random_small", "small", "1000"),
        result("random_large", "large", "1111"),
    ]
    found = real_table.figures(results, {"mocap": np.arange(4)})["mocap"]["linear"]
    assert found["moco"]["lead"] == 0.5
    assert found["vit"]["lead"] == -0.5
    assert found["random_large"] == {"mean": 1.0, "seeds": {0: 1.0}}


def test_curve_lists_only_networks_with_every_column():
    def content(**right: dict[str, float]) -> dict[str, object]:
        entries = {name: {"mean": 0.0, "seeds": seeds} for name, seeds in right.items()}
        return {"figures": {"mocap": {"linear": entries}}}

    budgets = {20: content(ctp={"0": 0.5}, moco={"0": 0.125}, dpc={"1": 0.75}), 10: content(ctp={"0": 0.25, "1": 0.5})}
    expected = ["| network | mocap, 10 frames | mocap, 20 frames |", "|---|---|---|", "| `ctp` | 25.0 | 50.0 |"]
    assert real_table.curve(budgets, protocol="linear", seed=0, splits=["mocap"]).splitlines() == expected


def test_a_task_with_a_reference_flaw_is_compared_with_the_plain_task():
    results = [
        {"name": name, "backbone": "small", "seed": 0, "correct": {"mocap": {"linear": right}}}
        for name, right in {"rot3d": "1100", "rot3d+plan.reference.shifted_rotation": "1000"}.items()
    ]
    found = real_table.figures(results, {"mocap": np.arange(4)})["mocap"]["linear"]
    assert found["rot3d+plan.reference.shifted_rotation"]["lead"] == -0.25
    assert "lead" not in found["rot3d"]


def test_a_switch_changes_only_its_own_key():
    assert real_recipes.switches("rot3d") == ["plan.reference.shifted_rotation"]
    assert real_recipes.switches("cpc_transformer") == ["net.reference.leak"]
    assert len(real_recipes.switches("cstp")) == 8
    plain, flawed = (
        real_recipes.pretraining(name, frames=1000, lengths=np.full(10, 200))
        for name in ("cpc_transformer", "cpc_transformer+net.reference.leak")
    )
    assert flawed == {**plain, "net.reference.leak": True}


def test_tied_classes_count_as_wrong():
    scores = np.array([[0.5, 0.5, 0.0], [0.6, 0.4, 0.0], [0.0, 0.4, 0.6]])
    assert in_top_k(scores, np.array([0, 0, 1]), 1).tolist() == [False, True, False]


@pytest.fixture
def sets(demo_set: Path, tmp_path: Path) -> Path:
    """Replace both sets by drawn videos of two classes, with sequences like UT-Interaction's."""
    root = tmp_path / "sets"
    videos = sorted(demo_set.rglob("*.mp4"))
    by_class: dict[str, list[Path]] = {}
    for video in videos:
        by_class.setdefault(video.parent.name, []).append(video)
    first, second = sorted(by_class)[:2]
    lines: dict[str, list[str]] = {"train.txt": [], "test.txt": []}
    rows = []
    for label, name in enumerate((first, second)):
        for number, video in enumerate(by_class[name]):
            for folder in ("mocap", "ut_interaction"):
                (root / folder / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(video, root / folder / name / f"{number}.mp4")
            lines["test.txt" if number == 0 else "train.txt"].append(f"{name}/{number}.mp4 {label}")
            scene = 1 + number % 2
            rows.append([f"{name}/{number}.mp4", name, label, scene, scene])
    for name, of_list in lines.items():
        (root / "mocap" / name).write_text("\n".join(of_list) + "\n")
    with (root / "ut_interaction/clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "class", "label", "set", "sequence"], *rows])
    return root


@pytest.mark.slow
def test_tested_sequences_are_never_trained_on(sets, tmp_path):
    real_data.prepare(sets, tmp_path / "data")
    found = real_data.splits(sets, tmp_path / "data")
    assert list(found) == ["mocap", "ut_sequences", "ut_set1_to_set2", "ut_set2_to_set1"]
    with (sets / "ut_interaction/clips.csv").open(newline="") as file:
        sequence = {row["name"].removesuffix(".mp4"): row["sequence"] for row in csv.DictReader(file)}
    split = found["ut_sequences"]
    names = list(split.index.names.texts())
    for fold in split.folds:
        trained, tested = ({sequence[names[row]] for row in rows} for rows in (fold.train, fold.test))
        assert len(tested) == 1
        assert not trained & tested
    assert sorted(split.tested.tolist()) == list(range(len(names)))
    assert [str(number) for number in split.clusters] == [sequence[names[row]] for row in split.tested]


def test_missing_sets_name_the_folder(tmp_path):
    with pytest.raises(UserError, match=r"no mocap in .*nowhere: give the folder .* with --source"):
        real_data.prepare(tmp_path / "nowhere", tmp_path / "data")


@pytest.mark.slow
def test_the_bench_measures_a_task_and_random_weights_and_resumes(sets, tmp_path, monkeypatch, capsys):
    plot = real_table.plot
    monkeypatch.setattr(linear, "PENALTIES", (0.1,))
    monkeypatch.setattr(attentive, "SETTINGS", ((1e-3, 0.01),))
    monkeypatch.setattr(attentive, "MIN_STEPS", 2)
    monkeypatch.setattr(attentive, "EPOCHS", 1)
    monkeypatch.setitem(real_recipes.SHARED, "train.global_batch", 2)
    monkeypatch.setattr(real_recipes, "MOCAP_EPOCHS", 1)
    monkeypatch.setattr(real_table, "plot", lambda *_: None)
    started = []

    def run_in_process(jobs):
        for folder, words in jobs:
            started.append(folder.name)
            real_job.main([str(word) for word in words])
        return []

    monkeypatch.setattr(real_motion, "run_jobs", run_in_process)
    options = ["--source", sets, "--work-dir", tmp_path / "work", "--out", tmp_path / "out", "--frames", 64]
    words = [*map(str, options), "--epochs", "1", "--tasks", "rot3d", "--seeds"]
    real_motion.main([*words, "0", "--no-finetune"])
    assert started == ["rot3d_0", "random_r3d_tiny_0"]
    report = json.loads((tmp_path / "out/real_motion_64.json").read_text())
    assert not any("finetune" in of_split for of_split in report["figures"].values())
    learned = next((tmp_path / "work").glob("64_1/rot3d_0/pretrain/metrics.jsonl")).stat().st_mtime_ns
    real_motion.main([*words, "0"])
    assert started == 2 * ["rot3d_0", "random_r3d_tiny_0"]
    assert next((tmp_path / "work").glob("64_1/rot3d_0/pretrain/metrics.jsonl")).stat().st_mtime_ns == learned
    target = tmp_path / "out/real_motion_64.json"
    report = json.loads(target.read_text())
    tuned = [run["correct"]["mocap"].pop("finetune") for run in report["runs"]]  # as of before that split was added
    target.write_text(json.dumps(report))
    real_motion.main([*words, "0"])
    assert started[4:] == ["rot3d_0", "random_r3d_tiny_0"]
    assert [run["correct"]["mocap"]["finetune"] for run in json.loads(target.read_text())["runs"]] == tuned
    # As on another machine, which has only the JSON of the first seed, and which was interrupted in the second.
    for run in next((tmp_path / "work").glob("64_*")).iterdir():
        run.rename(run.with_name(f"{run.name.removesuffix('0')}1"))
    monkeypatch.setattr(real_table, "plot", plot)
    real_motion.main([*words, "0", "1", "--no-finetune"])
    assert started[6:] == ["rot3d_1", "random_r3d_tiny_1"]
    report = json.loads((tmp_path / "out/real_motion_64.json").read_text())
    assert report["machine"]["cpu"]
    for split, tests in {"mocap": 2, "ut_sequences": 6, "ut_set1_to_set2": 2, "ut_set2_to_set1": 4}.items():
        for protocol, of_protocol in report["figures"][split].items():
            assert of_protocol.keys() == {"rot3d", "random_r3d_tiny"}
            found = [run["correct"][split] for run in report["runs"] if run["name"] == "rot3d"]
            texts = [of_split[protocol] for of_split in found if protocol in of_split]
            assert [len(text) for text in texts] == [tests] * (1 if protocol == "finetune" else 2)
            right = [text.count("1") / tests for text in texts]
            assert [*of_protocol["rot3d"]["seeds"].values()] == pytest.approx(right, abs=1e-4)
    assert {split for split, of in report["figures"].items() if "finetune" in of} == {*real_data.FINETUNED}
    assert all("attentive" in of_split for of_split in report["figures"].values())
    assert (tmp_path / "out/real_motion_64.png").stat().st_size > 1000
    with pytest.raises(UserError, match=r"real_motion_64.json has finetuned for 1 epoch, not 2: choose another --out"):
        real_motion.main([*words[:-1], "--epochs", "2", "--seeds", "0"])
    assert "| `rot3d` |" in capsys.readouterr().out
