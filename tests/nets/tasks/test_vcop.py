"""VCOP: the class is the order of the clips; the network compares them in pairs."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, vcop
from dali_pipelines.tasks.vcop import ORDERS, Config, annotate, batch_schema
from nets.tasks.vcop import ClipOrder, build
from nets.tasks.vcop import Config as NetConfig
from tests.helpers.originals import shapes_of
from tests.helpers.plans import plans
from tests.helpers.training import count, train_on

CFG = Config()


# The data.


def test_classes_are_the_permutations_in_lexicographic_order():
    assert ORDERS == ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@pytest.mark.parametrize("num_frames", [18, 49, 50, 64, 300])
def test_the_label_is_the_order_of_the_clips(num_frames):
    for drawn in plans("vcop", CFG, 100, num_frames=num_frames):
        starts = drawn["frames"].reshape(3, 16)[:, 0]
        assert tuple(np.argsort(np.argsort(starts))) == ORDERS[drawn["labels"]]
        assert (np.diff(drawn["frames"].reshape(3, 16)) == 1).all()


def test_clips_are_distinct_from_min_frames_on():
    for num_frames, different in [(18, 3), (17, 2)]:
        starts = plans("vcop", CFG, 1, num_frames=num_frames)[0]["frames"].reshape(3, 16)[:, 0]
        assert len(set(starts.tolist())) == different


def test_orders_are_uniform():
    """Chi-squared test over 4200 draws; the 99.9 % limit for 5 degrees of freedom is 20.5."""
    counts = Counter(int(drawn["labels"]) for drawn in plans("vcop", CFG, 4200))
    assert sum((counts[label] - 700) ** 2 / 700 for label in range(6)) < 20.5


def test_clips_are_never_mirrored():
    assert all((drawn["crop_end"] > drawn["crop_start"]).all() for drawn in plans("vcop", CFG, 50))


def test_clips_share_one_crop_in_the_order_of_the_label(vp9_store, monkeypatch):
    """Each label's order applied to the unshuffled clips gives the shuffled ones."""
    task = Task("vcop", Config(num_frames=4, interval=3, size=32, short_sides=(64,)))
    batch = next(iter(ClipLoader(vp9_store, task, batch_size=6, seed=3)))
    monkeypatch.setattr(vcop, "ORDERS", ((0, 1, 2),) * 6)
    unshuffled = next(iter(ClipLoader(vp9_store, task, batch_size=6, seed=3)))
    labels = batch["labels"].tolist()
    assert len(set(labels)) > 2
    assert labels == unshuffled["labels"].tolist()
    for clips, label, expected in zip(batch["clips"], labels, unshuffled["clips"], strict=True):
        assert torch.equal(clips, expected[list(ORDERS[label])])
        assert not torch.equal(expected[0], expected[1])


def test_notes_name_the_position_of_each_clip():
    (drawn,) = plans("vcop", CFG, 1)
    captions = annotate(drawn | {"labels": np.array(3)}, CFG).captions
    assert captions == ["clip 2 of 3", "clip 3 of 3", "clip 1 of 3"]


# The network.


def meta(backbone: str) -> ClipOrder:
    with torch.device("meta"):
        return build(backbone, batch_schema(CFG), NetConfig())


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {"clips": torch.randn(4, 3, 3, 4, 32, 32, generator=rng), "labels": torch.tensor([0, 5, 2, 2])}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("r3d_tiny", {"clips": ((3, 3, 4, 32, 32), "float32")}, NetConfig(hidden=16))


def test_parameter_counts_match_the_spec():
    model = meta("r3d18")
    assert count(model.compare) == 524_800
    assert count(model.classify) == 9_222
    assert count(model) == 33_166_272 + 524_800 + 9_222


def test_state_dict_has_the_originals_shapes_in_order():
    ours = [list(value.shape) for value in meta("r3d18").state_dict().values()]
    assert ours == list(shapes_of("ctp__vcop").values())


def test_an_untrained_network_is_at_chance(model):
    result = model(batch())
    assert result["loss"].item() == pytest.approx(math.log(6), abs=0.02)
    assert result["chance"].item() == pytest.approx(1 / 6)


def test_pairs_are_compared_in_the_specs_order(model):
    """Against the head computed clip by clip."""
    model.eval()
    clips = batch()["clips"]
    seen = []
    model.classify.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model({"clips": clips, "labels": torch.zeros(4, dtype=torch.int64)})
    features = [model.backbone(clips[:, k]).mean(dim=(2, 3, 4)) for k in range(3)]
    pairs = [torch.cat([features[a], features[b]], dim=1) for a, b in combinations(range(3), 2)]
    expected = torch.cat([(pair @ model.compare.weight.T + model.compare.bias).clamp(min=0) for pair in pairs], dim=1)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-5)


def test_a_few_steps_fit_one_batch(model):
    train_on(batch(), model, steps=40)
    assert model.eval()(batch())["accuracy"] == 1
