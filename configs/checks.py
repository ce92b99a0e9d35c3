"""Checks of settings, shared by several tasks."""

from configs.errors import require


def check_view(*, size: int, short_sides: tuple[int, ...], flip_prob: float) -> None:
    """Raise ValueError, as `require` words it, for settings that no view can have."""
    require(size >= 16, "size", size, "at least 16 pixels")
    check_steps("short_sides", short_sides)
    require(0 <= flip_prob <= 1, "flip_prob", flip_prob, "from 0 to 1")


def check_steps(key: str, values: tuple[int, ...]) -> None:
    """Raise ValueError unless there is a value to draw from and all are at least 1."""
    require(bool(values) and min(values) >= 1, key, list(values), "one whole number or more, each at least 1")
