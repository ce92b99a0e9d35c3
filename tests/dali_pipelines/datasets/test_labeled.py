"""Labeled datasets: UCF101's original lists, mismatches, and videos held out for validation."""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import LabeledData
from dali_pipelines.datasets.hold_out import SAME_FILM, hold_out
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.store.index import Index
from tests.helpers.indexes import record

CLASSES = ("ApplyEyeMakeup", "HandstandPushups", "YoYo")


def build(root: Path, names: list[str], class_names: tuple[str, ...] = CLASSES) -> Index:
    labels = {name: class_names.index(name.split("/")[0]) for name in names}
    index = Index.build(root, {name: record() for name in names}, labels=labels, class_names=class_names)
    index.save()
    return index


def ucf_names(films: int = 25, most: int = 7) -> list[str]:
    """Return UCF101 names (one class has two spellings): in each class, `films` films of 1 to `most` clips."""
    rng = np.random.default_rng(0)
    files = {"HandstandPushups": "HandStandPushups"}
    return [
        f"{name}/v_{files.get(name, name)}_g{film:02d}_c{clip:02d}"
        for name in CLASSES
        for film in range(1, films + 1)
        for clip in range(1, rng.integers(1, most, endpoint=True) + 1)
    ]


def open_list(root: Path, text: str, part: Literal["train", "test"] = "train") -> Index:
    (root / "list01.txt").write_text(text)
    lists: dict[str, Any] = {"list": "list0{split}.txt"} if part == "train" else {"test_list": "list0{split}.txt"}
    return open_dataset(root, LabeledData(root=str(root), **lists).list_of(part), labeled=True).index


def test_a_list_with_other_classes_than_the_dataset_is_refused(tmp_path):
    names = ucf_names(films=1)
    build(tmp_path, names)
    text = "".join(f"{name}.avi {1 + (name.split('/')[0] == 'YoYo')}\n" for name in names)
    with pytest.raises(UserError, match=r"has 2 classes, .* has 3 for the same videos: they are of different data"):
        open_list(tmp_path, text)


def test_a_number_at_the_end_of_a_name_is_not_taken_for_a_label(tmp_path):
    names = [f"YoYo/take {number}" for number in range(4)]
    build(tmp_path, names)
    assert list(open_list(tmp_path, "".join(f"{name}\n" for name in names)).names.texts()) == names
    assert len(open_list(tmp_path, "".join(f"{name}.avi 3\n" for name in names))) == 4
    with pytest.raises(UserError, match=r"has 4 classes, .* has 1 for"):
        open_list(tmp_path, "".join(f"{name}.avi {number}\n" for number, name in enumerate(names)))


def test_videos_without_a_class_and_a_missing_test_list_are_named(tmp_path):
    Index.build(tmp_path, {"a": record(), "b": record()}, labels={"a": 0, "b": -1}, class_names=("x",)).save()
    with pytest.raises(UserError, match="has 1 video without a class, the first b; prepare it again with --labels"):
        open_dataset(tmp_path, labeled=True)
    with pytest.raises(UserError, match=r"data.test_list: missing; name the file"):
        LabeledData(root=str(tmp_path)).list_of("test")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_hold_out_keeps_films_whole_and_takes_a_share_of_every_class(tmp_path, share):
    index = build(tmp_path, ucf_names())
    train, held = hold_out(index, share, seed=3)
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(index)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()

    def films(rows: np.ndarray) -> set[str]:
        return {index.names.text(row)[: -len("_c01")] for row in rows}

    assert not films(train) & films(held)
    sizes, kept = Counter(index.labels.tolist()), Counter(index.labels[held].tolist())
    for label, size in sizes.items():
        expected = round(share * size)
        assert expected <= kept[label] < expected + 7  # the last film may exceed the share by up to 6 clips


def test_hold_out_leaves_every_class_a_film_to_train_on(tmp_path):
    index = build(tmp_path, [f"ApplyEyeMakeup/v_A_g01_c{clip:02d}" for clip in range(9)] + ucf_names(films=2)[-4:])
    train, held = hold_out(index, 0.9, seed=0)
    assert set(index.labels[train]) == set(index.labels)
    assert 0 not in index.labels[held]  # its only film


def test_names_without_films_are_held_out_one_by_one(tmp_path):
    index = build(tmp_path, [f"YoYo/{number}_c1x" for number in range(20)])
    assert [len(rows) for rows in hold_out(index, 0.25, seed=0)] == [15, 5]


def test_held_out_videos_depend_only_on_the_seed(tmp_path):
    index = build(tmp_path, ucf_names())
    first, again, other = (hold_out(index, 0.2, seed)[1].tolist() for seed in (5, 5, 6))
    assert first == again != other


def test_films_are_recognized_in_ucf101_and_hmdb51_names():
    films = {
        "Archery/v_Archery_g07_c03": "Archery/v_Archery_g07",
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0": "brush_hair/April_09_brush_hair",
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_12": "brush_hair/April_09_brush_hair",
        "kick_ball/Faith_Rewarded_kick_ball_f_cm_np1_ba_bad_6": "kick_ball/Faith_Rewarded_kick_ball",
        "shelf/v_c_1": "shelf/v_c_1",
    }
    assert {name: SAME_FILM.sub("", name) for name in films} == films
