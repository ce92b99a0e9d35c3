"""What the parts of a run must have in common, and the errors when they differ."""

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.store.ragged import Ragged
from trainers.engine.identity import check, dataset_facts

IDENTITY = {"task": "fake", "backbone": "tiny", "seed": 7, "train.global_batch": 8, "videos": 100}
DATA = "data: {root: data/films, list: train.txt}"


def saved(identity: dict[str, object]) -> dict[str, object]:
    return {"identity": identity, "step": 30, "config": DATA}


@pytest.mark.parametrize(
    ("key", "value"),
    [("task", "rot"), ("backbone", "r3d18"), ("seed", 8), ("train.global_batch", 16)],
)
def test_a_checkpoint_of_another_run_is_refused_with_both_values(key, value):
    assert check(saved(IDENTITY), IDENTITY) == []
    with pytest.raises(UserError) as caught:
        check(saved(IDENTITY), IDENTITY | {key: value})
    text = str(caught.value)
    assert f"{key} = {IDENTITY[key]!r}" in text
    assert repr(value) in text
    assert "--work-dir" in text


def changed(index, how):
    names, frames = list(index.names.texts()), index.num_frames.copy()
    if how == "name":
        names[3] += "x"
    elif how == "order":
        return index.select(np.arange(len(index))[::-1])
    elif how == "cut elsewhere":  # the same concatenated text
        names[0], names[1] = names[0] + names[1][0], names[1][1:]
    else:
        frames[[0, 1]] = frames[[1, 0]]
    return index.with_columns(names=Ragged.of_texts(names), num_frames=frames)


@pytest.mark.parametrize("how", ["name", "order", "cut elsewhere", "frames"])
def test_as_many_other_videos_are_refused(vp9_store, how):
    before = saved(IDENTITY | dataset_facts(vp9_store))
    assert check(before, IDENTITY | dataset_facts(vp9_store.select(range(12)))) == []
    what = "of the same names, some with another number of frames" if how == "frames" else "as many .* other names"
    with pytest.raises(UserError, match=what) as caught:
        check(before, IDENTITY | dataset_facts(changed(vp9_store, how)))
    text = str(caught.value)
    assert text.startswith("the checkpoint of step 30 ")
    assert "data.root data/films, data.list train.txt" in text
    assert "--work-dir" in text
    assert "clipfeed finetune --pretrained" in text


def test_a_dataset_prepared_again_is_accepted_with_a_warning(vp9_store):
    sizes = vp9_store.numbers("init_sizes", np.int64).copy()
    sizes[3] += 1
    again = vp9_store.with_columns(init_sizes=sizes)
    (warning,) = check(saved(IDENTITY | dataset_facts(vp9_store)), IDENTITY | dataset_facts(again))
    assert "since step 30: its pixels may differ" in warning


def test_another_number_of_videos_is_refused_with_the_list_to_go_back_to():
    """The way out was to set `videos` back to 100, which no recipe can."""
    message = r"^the checkpoint of step 30 was trained on 100 videos, not 99: from data\.root data/films"
    with pytest.raises(UserError, match=message):
        check(saved(IDENTITY), IDENTITY | {"videos": 99})


@pytest.mark.parametrize(
    ("column", "fact"),
    [
        ("num_frames", "videos.frames"),
        ("labels", "videos.labels"),
        ("sizes_WH", "videos.sizes"),
        ("init_sizes", "videos.places"),
    ],
)
def test_dataset_facts_differ_if_one_number_differs(vp9_store, column, fact):
    numbers = vp9_store.numbers(column, np.int64).copy()
    numbers[3] += 2
    ours, theirs = dataset_facts(vp9_store), dataset_facts(vp9_store.with_columns(**{column: numbers}))
    assert {name for name in ours if ours[name] != theirs[name]} == {fact}


def test_dataset_facts_do_not_depend_on_the_order_of_the_table(vp9_store):
    backwards = vp9_store.select(np.arange(12)[::-1])
    assert dataset_facts(backwards.select(np.arange(12)[::-1])) == dataset_facts(vp9_store)
    assert dataset_facts(backwards)["videos.places"] != dataset_facts(vp9_store)["videos.places"]
