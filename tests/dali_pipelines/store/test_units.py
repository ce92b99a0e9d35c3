"""A video's fragment table: lossless round trip, few bytes, and impossible values refused."""

from contextlib import suppress
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.units import MAX_UNITS, PackedFragments, pack_units, unpack_units

fragment = st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 30), st.integers(1, 1000), st.booleans())


def in_file(parts):
    """Return consecutive fragments of a file, with `gap` bytes before each."""
    at, found = 0, []
    for gap, size, frames, deflated in parts:
        found.append(Fragment(at + gap, size, frames, deflated))
        at += gap + size
    return found


@given(st.lists(fragment, min_size=1, max_size=40), st.randoms())
def test_packing_and_unpacking_keeps_fragments(parts, random):
    fragments = in_file(parts)
    random.shuffle(fragments)  # members of a zip can be in any order
    packed = PackedFragments.of(fragments)
    assert list(packed) == fragments
    assert len(packed) == len(fragments)
    assert packed.end == fragments[-1].offset + fragments[-1].size
    assert packed.size == sum(fragment.size for fragment in fragments)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_an_empty_fragment_overlaps_none_that_starts_where_it_does(order):
    fragments = [[Fragment(0, 0, 1), Fragment(1, 0, 1), Fragment(1, 1, 1)][i] for i in order]
    assert list(PackedFragments.of(fragments)) == fragments


@given(st.lists(st.integers(0, 1 << 30), min_size=2, max_size=40))
def test_fragments_in_separate_files_start_at_byte_0(sizes):
    fragments = [Fragment(0, size, 1) for size in sizes]
    assert list(PackedFragments.of(fragments)) == fragments


def test_unpacked_units_match_a_hand_count():
    fragments = in_file([(7, 10, 3, False), (0, 20, 2, False), (5, 1, 4, True)])
    units = unpack_units(PackedFragments.of(fragments).table, init_size=6)
    assert units.init == (1, 7)
    assert units.starts.tolist() == [7, 17, 42]
    assert units.ends.tolist() == [17, 37, 43]
    assert units.frame_ends.tolist() == [3, 5, 9]
    assert units.deflated.tolist() == [False, False, True]


def test_packed_size_is_close_to_the_entropy():
    """Differences of sizes are two-sided geometric: 7.9 bits each, which no code can beat."""
    rng = np.random.default_rng(0)
    spread = np.exp(-1 / 64)
    steps = rng.geometric(1 - spread, 3000) - rng.geometric(1 - spread, 3000)
    values, counts = np.unique(steps, return_counts=True)
    assert len(values) > 300
    probabilities = counts / counts.sum()
    entropy = -(probabilities * np.log2(probabilities)).sum()
    sizes = 40_000 + np.cumsum(steps)
    table = pack_units(np.cumsum(sizes) - sizes, sizes, np.ones(3000, np.int64), np.zeros(3000, np.bool_))
    assert entropy < 8 * len(table) / 3000 < entropy + 1


def test_frames_of_equal_size_take_no_bytes_each():
    fragments = in_file([(30, 38016, 1, False)] * 300)
    assert len(PackedFragments.of(fragments).table) < 20


@pytest.mark.parametrize(
    "fragments",
    [
        [],
        [Fragment(-1, 5, 1)],
        [Fragment(0, -5, 1)],
        [Fragment(0, 5, 0)],
        [Fragment(0, 1 << 50, 1)],
    ],
)
def test_impossible_fragments_are_not_packed(fragments):
    with pytest.raises(ValueError, match=r"fragments|claims"):
        PackedFragments.of(fragments)


def number(value):
    """Encode as LEB128."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "damaged"),
        (b"\x80" * 30, "damaged"),
        (bytes([0, 1, 0, 0]) + b"\xff" * 9 + bytes([127, 0]), "damaged"),  # a size of 70 bits
        (bytes([16, 1, 0, 0, 2, 0]), "claims"),  # an unknown flag
        (bytes([0]) + number(MAX_UNITS + 1) + bytes([0, 0, 2, 0]), "claims 4194305 fragments"),
        (bytes([0]) + number(1 << 50) + bytes([0, 0, 2, 0]), "claims"),
        (bytes([0, 3, 0, 0, 2, 9]), "damaged"),  # nine bytes of unary that are missing
        (bytes([0, 3, 0, 0, 1, 0]), "claims -1 to -1 bytes"),
        (bytes([0, 1, 0, 0]) + number(2 << 50) + bytes([0]), "bytes a fragment"),
        (bytes([2, 2, 9, 0, 8, 0, 0, 3, 0]), "overlap"),  # two of 4 bytes that overlap by 2
        (bytes([2, 1, 9, 0, 8, 0, 0, 3, 0]), "damaged"),  # gaps after the only one
    ],
)
def test_impossible_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        unpack_units(table)


@given(st.lists(st.sampled_from([0, 1, 2, 3, 9, 127, 128, 255]), max_size=24))
def test_any_bytes_are_read_or_refused(numbers):
    with suppress(ValueError):
        unpack_units(bytes(numbers))


def test_a_table_with_the_maximum_of_fragments_is_read():
    table = bytes([0]) + number(MAX_UNITS) + bytes([0, 0, 2, 0])  # one byte each
    assert unpack_units(table).ends[-1] == MAX_UNITS


def test_the_first_fragment_begins_after_the_init_segment():
    with pytest.raises(ValueError, match="from byte 0 on"):
        unpack_units(PackedFragments.of([Fragment(0, 5, 1)]).table, init_size=1)
