"""Counts in sentences: "1 video", "3 videos"."""


def counted(number: int, noun: str, plural: str | None = None, *, spec: str = "") -> str:
    """Write a number with its noun: `counted(1, "video")` is "1 video", `counted(3, "video")` is "3 videos".

    `plural` is needed where it is not `noun` with an s, as "classes". `spec` formats the number, as "," for 12,345.
    """
    return f"{number:{spec}} {noun if number == 1 else plural or f'{noun}s'}"
