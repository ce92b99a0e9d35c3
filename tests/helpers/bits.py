"""Header fields of a stream as the FFmpeg binary reads them, independent of the project's parsers."""

import re
import subprocess
from pathlib import Path

from tests.helpers.media import FFMPEG


def bits(path: Path) -> dict[str, list[int]]:
    """Return field -> its values in file order, with one value for each element of an array."""
    command = [FFMPEG, "-v", "trace", "-i", path, "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    text = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, errors="replace").stderr
    fields: dict[str, list[int]] = {}
    for name, value in re.findall(r"\] \d+ +(\w+)(?:\[\d+\])* +[01]+ = (-?\d+)", text):
        fields.setdefault(name, []).append(int(value))
    return fields
