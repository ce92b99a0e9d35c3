"""SpeedNet's data: the class is the visible speed."""

from collections import Counter

import numpy as np
import pytest

from dali_pipelines.tasks.speednet import SPEEDS, Config, annotate
from tests.helpers.plans import plans

CFG = Config()


def by_class(num_frames: int) -> dict[int, list[int]]:
    """Return class -> frames of one sample."""
    found = {
        int(drawn["labels"]): drawn["frames"].tolist() for drawn in plans("speednet", CFG, 100, num_frames=num_frames)
    }
    return dict(sorted(found.items()))


def test_classes_have_the_specs_order():
    assert SPEEDS == (-4, -2, -1, 0, 1, 2, 4)


@pytest.mark.parametrize("num_frames", [61, 62, 300])
def test_the_class_is_the_frame_step_in_a_long_video(num_frames):
    for drawn in plans("speednet", CFG, 200, num_frames=num_frames):
        assert set(np.diff(drawn["frames"]).tolist()) == {SPEEDS[drawn["labels"]]}


@pytest.mark.slow
def test_classes_are_uniform():
    """Chi-squared over 4200 draws, 99.9 % limit for 6 degrees of freedom: 22.5."""
    counts = Counter(int(drawn["labels"]) for drawn in plans("speednet", CFG, 4200, num_frames=100))
    assert sorted(counts) == list(range(7))
    assert sum((count - 600) ** 2 / 600 for count in counts.values()) < 22.5


@pytest.mark.parametrize(("num_frames", "clips"), [(60, 7), (20, 7), (4, 7), (3, 5), (2, 3), (1, 1)])
def test_a_short_video_repeats_its_last_frame_and_merges_classes_below_4_frames(num_frames, clips):
    """Clips are compared by their frames; that of speed 0 counts as the last frame, wherever it stands still."""
    seen = by_class(num_frames)
    fastest, backwards = seen[6], seen[0]
    assert fastest == [min(4 * i, num_frames - 1) for i in range(16)]
    assert backwards == fastest[::-1]
    assert len(seen) == 7
    still = seen.pop(3)
    assert len(set(still)) == 1
    assert len({tuple(frames) for frames in seen.values()} | {(num_frames - 1,) * 16}) == clips


def test_one_color_map_covers_all_frames_of_a_clip():
    drawn = plans("speednet", CFG, 50, num_frames=100)
    for sample in drawn:
        assert (sample["color_matrix"] == sample["color_matrix"][0]).all()
        assert (sample["color_offset"] == sample["color_offset"][0]).all()
    changed = [not np.array_equal(sample["color_matrix"][0], np.eye(3, dtype=np.float32)) for sample in drawn]
    assert 0 < sum(changed) < 50


def test_notes_name_speed_and_direction():
    captions = {
        int(drawn["labels"]): annotate(drawn, CFG).captions[0] for drawn in plans("speednet", CFG, 100, num_frames=100)
    }
    assert [captions[label] for label in range(7)] == [
        "every 4th frame, backwards",
        "every 2nd frame, backwards",
        "every frame, backwards",
        "one frame, standing still",
        "every frame",
        "every 2nd frame",
        "every 4th frame",
    ]
