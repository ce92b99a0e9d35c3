"""Numbers of a shard: keys of videos, its size, and the offsets of fragments."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from dali_pipelines.prepare.shards import member_key, parse_size
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.units import PackedFragments


def test_keys_have_no_dot_and_are_unique():
    odd = ["a.b/c.d", "a.b/c%2Ed", "a.b/c_d", "a.b/c%d", "c.d"]
    keys = [member_key(name) for name in odd]
    assert len(set(keys)) == len(odd)
    assert keys[0] == "a.b/c%2Ed"
    assert all("." not in key.rpartition("/")[2] for key in keys)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GiB", 2**30), ("500MB", 500_000_000), ("1.5 kib", 1536), ("4096", 4096), ("2TB", 2 * 10**12), ("7b", 7)],
)
def test_sizes_are_parsed_with_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "0", "-1GB", "1GBB", "1,5GB", "0.2b", "nan", "9" * 400])
def test_invalid_sizes_are_refused(text):
    with pytest.raises(UserError, match="must be a size, as 1GiB or 500MB"):
        parse_size(text)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 500)), min_size=1, max_size=20), st.integers(0, 2**45))
def test_moving_fragments_changes_only_their_offsets(sizes_and_frames, shift):
    ends = itertools.accumulate((size for size, _ in sizes_and_frames), initial=700)
    fragments = [Fragment(start, *one) for start, one in zip(ends, sizes_and_frames, strict=False)]
    moved = PackedFragments.of(fragments).moved(shift)
    assert list(moved) == [fragment._replace(offset=fragment.offset + shift) for fragment in fragments]
    assert len(moved) == len(fragments)
