"""Numbers of a shard: keys of videos, its size, and the offsets of fragments."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from dali_pipelines.prepare.shards import member_key, parse_size
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.units import PackedFragments


def test_keys_have_no_dot_and_tell_all_names_apart():
    odd = ["a.b/c.d", "a.b/c%2Ed", "a.b/c_d", "a.b/c%d", "c.d"]
    keys = [member_key(name) for name in odd]
    assert len(set(keys)) == len(odd)
    assert keys[0] == "a.b/c%2Ed"
    assert all("." not in key.rpartition("/")[2] for key in keys)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GiB", 2**30), ("500MB", 500_000_000), ("1.5 kib", 1536), ("4096", 4096), ("2TB", 2 * 10**12), ("7b", 7)],
)
def test_a_size_is_read_as_people_write_it(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "0", "-1GB", "1GBB", "1,5GB", "0.2b", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UserError, match="must be a size, as 1GiB or 500MB"):
        parse_size(text)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 500)), min_size=1, max_size=20), st.integers(0, 2**45))
def test_fragments_that_move_stay_what_they_are_but_for_their_place(sizes_and_frames, by):
    ends = itertools.accumulate((size for size, _ in sizes_and_frames), initial=700)
    fragments = [Fragment(start, *one) for start, one in zip(ends, sizes_and_frames, strict=False)]
    moved = PackedFragments.of(fragments).moved(by)
    assert list(moved) == [fragment._replace(offset=fragment.offset + by) for fragment in fragments]
    assert len(moved) == len(fragments)
