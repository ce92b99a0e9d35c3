"""ClipLoader checks its arguments, and the states that it is to resume from."""

import json
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Subset

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, ctp

pytestmark = pytest.mark.slow

CTP = Task("ctp", ctp.Config(strides=(1, 2)))


def test_a_dataset_smaller_than_a_batch_is_refused(vp9_store):
    with pytest.raises(UserError, match=r"12 videos.*global batch of 16"):
        ClipLoader(vp9_store, CTP, batch_size=8, world_size=2)
    with pytest.raises(UserError, match=r"0 videos, fewer than one global batch of 1\b"):
        ClipLoader(vp9_store.select([]), CTP, batch_size=1, shuffle=False)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"batch_size": 0}, "batch_size = 0 must be at least 1"),
        ({"world_size": 0}, "world_size = 0 must be at least 1"),
        ({"world_size": 2, "rank": 2}, "rank = 2 must be from 0 to world_size - 1 = 1"),
        ({"rank": -1}, "rank = -1 must be from 0 to"),
        ({"workers": -1}, "workers = -1 must be at least 0"),
        ({"threads": 0}, "threads = 0 must be auto or at least 1"),
        ({"seed": -1}, "seed = -1 must be from 0 to"),
        ({"decoder": "opencv"}, "decoder = 'opencv' must be auto, dali or pyav"),
        ({"device": "mps"}, "device = 'mps' must be cpu, cuda or cuda:N"),
        ({"device": "gpu"}, "device = 'gpu' must be cpu, cuda or cuda:N"),
        ({"batch_size": 2.0}, "batch_size = 2.0 must be a whole number"),
        ({"batch_size": "2"}, "batch_size = '2' must be a whole number"),
        ({"workers": None}, "workers = None must be a whole number"),
        ({"threads": 1.5}, "threads = 1.5 must be a whole number"),
        ({"timeout_s": -1}, "timeout_s = -1 must be greater than 0"),
        ({"most_unreadable": 5}, "most_unreadable = 5 must be from 0 to 1"),
    ],
)
def test_impossible_arguments_are_refused_by_name(vp9_store, options, wrong):
    with pytest.raises(ValueError, match=f"^{wrong}"):
        ClipLoader(vp9_store, CTP, **{"batch_size": 4} | options)


def test_a_gpu_that_is_not_there_is_named_with_the_way_out(vp9_store):
    loader = ClipLoader(vp9_store, CTP, batch_size=4, device="cuda:99", decoder="pyav")
    with pytest.raises(UserError, match=r"device='cuda:99': torch finds \d+ usable GPUs?; .*device='cpu'"):
        next(iter(loader))


def test_passing_names_suggests_open_dataset_and_load_task(vp9_store):
    with pytest.raises(UserError, match=r"takes an open dataset: open_dataset\('data/mine'\)"):
        ClipLoader("data/mine", CTP, batch_size=1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"takes what open_dataset returns, or its index\.select\(rows\)$"):
        ClipLoader(Subset(vp9_store, [0, 2]), CTP, batch_size=1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"takes a task: load_task\('ctp/demo'\)"):
        ClipLoader(vp9_store, "ctp/demo", batch_size=1)  # type: ignore[arg-type]


def test_the_state_of_another_run_is_refused_with_both_values(vp9_store):
    state = ClipLoader(vp9_store, CTP, batch_size=4, seed=5).state_dict()
    with pytest.raises(UserError, match=r"global_batch 4, this run 2"):
        ClipLoader(vp9_store, CTP, batch_size=2, seed=5).load_state_dict(state)
    with pytest.raises(UserError, match=r"seed 5, this run 6"):
        ClipLoader(vp9_store, CTP, batch_size=4, seed=6).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"epoch": None}, "has no epoch"),
        ({"videos": None}, "has no videos"),
        ({"epoch": "1"}, "has epoch '1', not a whole number from 0 on"),
        ({"step": 1.0}, "has step 1.0, not a whole number from 0 on"),
        ({"step": -1}, "has step -1, not a whole number from 0 on"),
        ({"step": 3}, "has step 3, but an epoch has 3 batches here"),
    ],
)
def test_what_is_no_state_of_a_loader_is_refused_by_its_key(vp9_store, change, wrong):
    loader = ClipLoader(vp9_store, CTP, batch_size=4, seed=5)
    state = {name: value for name, value in (loader.state_dict() | change).items() if value is not None}
    with pytest.raises(UserError, match=f"^cannot resume: the state {wrong}: pass what state_dict"):
        loader.load_state_dict(state)
    with pytest.raises(UserError, match=r"^cannot resume: the state has no epoch"):
        loader.load_state_dict(None)  # type: ignore[arg-type]
    assert loader.state_dict() == {"epoch": 0, "step": 0, "videos": 12, "seed": 5, "global_batch": 4}


def test_numbers_of_numpy_give_a_state_that_json_takes(vp9_store):
    """torch.load, which reads no NumPy number without being told to, refused a checkpoint with it."""
    numpys: dict[str, Any] = {"batch_size": np.int64(2), "rank": np.int64(0), "seed": np.int64(5)}
    loader = ClipLoader(vp9_store, CTP, world_size=2, **numpys)
    state = ClipLoader(vp9_store, CTP, batch_size=2, world_size=2, seed=5).state_dict()
    assert json.loads(json.dumps(loader.state_dict())) == state
