"""Pretrain, finetune and test on folders laid out as each of the four systems documents, without changing them.

Sources: specs/ctp.md 5, specs/cstp.md 6, specs/concepts.md 1, specs/cpc_transformer.md 1, and the systems' READMEs.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dali_pipelines import prepare
from dali_pipelines.store.index import Index
from tests.helpers.archives import write_lmdb, write_zip
from trainers.commands import finetune, pretrain, test

pytestmark = pytest.mark.slow

CLASSES = ("ApplyEyeMakeup", "Archery")
FRAMES = 44
Videos = Mapping[str, list[bytes]]
"""JPEGs of each video, by "Class/v_Class_g01_c01"."""


@dataclass(frozen=True)
class Layout:
    """Files of a system's user.

    Attributes:
        source: argument of `prepare`.
        pretrain, train, test: lists of videos; None for all.
    """

    source: Path
    pretrain: Path | None
    train: Path
    test: Path


@pytest.fixture(scope="module")
def videos() -> Videos:
    """Make moving colored noise, three videos per class."""
    found = {}
    for label, name in enumerate(CLASSES):
        for number in range(3):
            rng = np.random.default_rng((label, number))
            noise = np.kron(rng.integers(0, 256, (12, 16, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            frames = [np.roll(noise, (3 - 6 * label) * t, axis=1) for t in range(FRAMES)]
            found[f"{name}/v_{name}_g0{number + 1}_c01"] = [jpeg(frame) for frame in frames]
    return found


def jpeg(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=90)
    return file.getvalue()


def is_test(name: str) -> bool:
    return "_g01_" in name


def split(videos: Videos, *, testing: bool) -> list[str]:
    return [name for name in videos if is_test(name) == testing]


def write_pictures(folder: Path, pictures: list[bytes], name: str) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, start=1):
        (folder / name.format(number)).write_bytes(picture)


def ctp(root: Path, videos: Videos) -> Layout:
    """Write a zip of JPEGs per video and JSON lists (UCF101: specs/ctp.md 5)."""
    lists = root / "ucf101" / "annotations"
    lists.mkdir(parents=True)
    for name, pictures in videos.items():
        path = root / "ucf101" / "zips" / f"{name}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_zip(path, {f"img_{number:05d}.jpg": picture for number, picture in enumerate(pictures, start=1)})
    for subset in ("train", "test"):
        rows = [
            {"name": name, "label": CLASSES.index(name.split("/")[0]) + 1}
            for name in split(videos, testing=subset == "test")
        ]
        (lists / f"{subset}_split_1.json").write_text(json.dumps(rows))
    train = lists / "train_split_1.json"
    return Layout(root / "ucf101" / "zips", train, train, lists / "test_split_1.json")


def cstp_folders(root: Path, videos: Videos) -> Layout:
    """Write folders of JPEGs, and lists with labels from 0 and frame counts (specs/cstp.md 6.1, 6.2)."""
    for name, pictures in videos.items():
        write_pictures(root / "UCF_101_1f_256" / name, pictures, "image_{:05d}.jpg")
    return Layout(root / "UCF_101_1f_256", *cstp_lists(root, videos))


def cstp_lmdb(root: Path, videos: Videos) -> Layout:
    """Write an LMDB of msgpack lists of JPEGs, in shuffled order (specs/cstp.md 6.3)."""
    root.mkdir()
    return Layout(write_lmdb(root / "ucf101.lmdb", videos), *cstp_lists(root, videos))


def cstp_lists(root: Path, videos: Videos) -> tuple[Path, Path, Path]:
    folder = root / "UCF101_labels"
    folder.mkdir(parents=True)
    for subset in ("train", "test"):
        names = split(videos, testing=subset == "test")
        lines = [f"{name}.avi {CLASSES.index(name.split('/')[0])} {FRAMES}" for name in names]
        (folder / f"{subset}list01_nframe.txt").write_text("".join(f"{line}\n" for line in lines))
    train = folder / "trainlist01_nframe.txt"
    return train, train, folder / "testlist01_nframe.txt"


def concepts(root: Path, videos: Videos) -> Layout:
    """Write train/class/video/image_00001.jpg, and CSVs of absolute folders, frame counts and labels (its README)."""
    for name, pictures in videos.items():
        write_pictures(root / "ucf-101" / ("val" if is_test(name) else "train") / name, pictures, "image_{:05d}.jpg")
    for subset, part, labeled in (("pretrain", "train", False), ("train", "train", True), ("test", "val", True)):
        lines = [
            f"{root}/ucf-101/{part}/{name},{FRAMES}" + f",{CLASSES.index(name.split('/')[0])}" * labeled
            for name in split(videos, testing=part == "val")
        ]
        (root / f"ucf_{subset}.csv").write_text("".join(f"{line}\n" for line in lines))
    return Layout(root / "ucf-101", root / "ucf_pretrain.csv", root / "ucf_train.csv", root / "ucf_test.csv")


def cpc_transformer(root: Path, videos: Videos) -> Layout:
    """Write folders of JPEGs, and CSVs of folders with a trailing slash and frame counts, with Windows line endings."""
    for name, pictures in videos.items():
        write_pictures(root / "frame" / "UCF101" / name, pictures, "image_{:05d}.jpg")
    for subset in ("train", "test"):
        # Paths of another machine, as in the lists shipped with the code.
        names = split(videos, testing=subset == "test")
        lines = [f"/root/elsewhere/frame/UCF101/{name}/,{FRAMES}\r\n" for name in names]
        (root / f"{subset}_split03.csv").write_bytes("".join(lines).encode())
    train = root / "train_split03.csv"
    return Layout(root / "frame" / "UCF101", train, train, root / "test_split03.csv")


PRETRAIN = {
    "ctp": (ctp, "ctp", ("plan.num_frames=8", "plan.size=64", "plan.short_sides=[64]", "net.hidden=16")),
    "cstp": (cstp_folders, "cstp", ("plan.num_frames=8", "plan.size=64")),
    "cstp_lmdb": (cstp_lmdb, "cstp", ("plan.num_frames=8", "plan.size=64")),
    "concepts": (concepts, "concepts", ()),
    "cpc_transformer": (cpc_transformer, "cpc_transformer", ()),
}
SHORT = ("train.epochs=1", "train.global_batch=2", "schedule={kind: constant, milestones: [], warmup_iters: 0}")


def overrides(*items: object) -> list[str]:
    return [word for item in items for word in ("--set", str(item))]


@pytest.mark.parametrize("system", PRETRAIN)
def test_pretrain_finetune_and_test_on_the_systems_own_files(system: str, videos: Videos, tmp_path: Path) -> None:
    build: Callable[[Path, Videos], Layout]
    build, task, smaller = PRETRAIN[system]
    layout = build(tmp_path / "theirs", videos)
    before = {path: path.read_bytes() for path in (tmp_path / "theirs").rglob("*") if path.is_file()}
    data = tmp_path / "data"
    assert prepare.main([str(layout.source), "--out", str(data), "--codec", "original", "--workers", "1"]) == 0
    index = Index.load(data)
    assert len(index) == len(videos)
    assert sorted(index.num_frames.tolist()) == [FRAMES] * len(videos)
    assert sorted(path.name for path in data.rglob("*") if path.suffix == ".mp4") == []

    common = ["--device", "cpu", "--data-dir", str(data)]
    run = ["--config", f"configs/{task}/demo.yaml", *common, "--work-dir", str(tmp_path / "pretrained")]
    pretrain.main([*run, *overrides(f"data.list={layout.pretrain}", *smaller, *SHORT)])
    lines = [json.loads(line) for line in (tmp_path / "pretrained" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == len(split(videos, testing=False)) // 2
    assert np.isfinite(lines[-1]["loss"])

    lists = overrides(f"data.list={layout.train}", f"data.test_list={layout.test}", "validation.share=0")
    run = ["--config", "configs/recognition/demo.yaml", *common, "--work-dir", str(tmp_path / "finetuned")]
    finetune.main([*run, "--mode", "scratch", *lists, *overrides(*SHORT)])
    test.main(["--checkpoint", str(tmp_path / "finetuned"), *common, "--protocol", "video", *lists])
    found = json.loads((tmp_path / "finetuned" / "test_video" / "result.json").read_text())
    assert (found["videos"], found["classes"], found["classes_present"]) == (2, 2, 2)
    with (tmp_path / "finetuned" / "test_video" / "predictions.csv").open(newline="") as file:
        tested = {row["video"].split("/")[-1]: row["class"] for row in csv.DictReader(file)}
    assert tested == {name.split("/")[1]: name.split("/")[0] for name in split(videos, testing=True)}
    assert {path: path.read_bytes() for path in (tmp_path / "theirs").rglob("*") if path.is_file()} == before
