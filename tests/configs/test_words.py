"""Counts in sentences."""

import pytest

from configs.words import counted


@pytest.mark.parametrize(
    ("number", "noun", "plural", "expected"),
    [
        (1, "video", None, "1 video"),
        (0, "video", None, "0 videos"),
        (3, "test video", None, "3 test videos"),
        (1, "class", "classes", "1 class"),
        (2, "class", "classes", "2 classes"),
    ],
)
def test_nouns_are_plural_unless_the_count_is_one(number, noun, plural, expected):
    assert counted(number, noun, plural) == expected


def test_counts_use_the_given_format():
    assert counted(12345, "video", spec=",") == "12,345 videos"
    assert counted(12345, "video") == "12345 videos"
