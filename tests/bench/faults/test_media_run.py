"""bench.faults.media.run: which videos are named wrongly, and which samples differ."""

import pytest

from bench.faults.media.run import judge

NAMES = ("zips/0", "zips/1", "zips/2", "zips/3")
DONE = {"zips/0": "emptied", "zips/1": "a bit flipped"}
SOUND = ("0:a", "1:b", "2:c", "3:d")
CAME = ("2:c", "1:x", "2:c", "3:d")


def found(*, broken=frozenset({"zips/0"}), named=frozenset({"zips/0"}), came=CAME, wanted=CAME):
    return judge(NAMES, DONE, broken, named, sound=SOUND, came=came, wanted=wanted)


def test_undecodable_video_is_named_and_replaced():
    assert found() == (set(), set(), 0)


def test_harmless_damage_need_not_be_named():
    came = ("2:c", "1:b", "2:c", "3:d")
    assert found(broken={*DONE}, came=came, wanted=came) == (set(), {"zips/1"}, 0)
    assert found(broken={*DONE}) == ({"zips/1"}, set(), 0)  # changed pixels must be named


@pytest.mark.parametrize(
    ("change", "videos", "samples"),
    [
        ({"named": set()}, {"zips/0"}, 0),
        ({"named": {*DONE}}, {"zips/1"}, 0),
        ({"came": ("3:d", "1:x", "2:c", "3:d")}, set(), 1),  # another replacement
        ({"came": ("2:c", "1:x", "2:x", "3:d"), "wanted": ("2:c", "1:x", "2:x", "3:d")}, set(), 1),  # a sound video
    ],
)
def test_wrong_names_and_samples_are_counted(change, videos, samples):
    wrong, _, num_wrong = found(**change)
    assert (wrong, num_wrong) == (videos, samples)
