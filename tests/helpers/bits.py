"""What the FFmpeg binary reads in the headers of a stream, apart from what the project reads there."""

import re
import subprocess
from pathlib import Path

from tests.helpers.media import FFMPEG


def bits(path: Path) -> dict[str, list[int]]:
    """Return the values of each field in the order of the file; of an array, those of all its places."""
    command = [FFMPEG, "-v", "trace", "-i", path, "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    text = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, errors="replace").stderr
    fields: dict[str, list[int]] = {}
    for name, value in re.findall(r"\] \d+ +(\w+)(?:\[\d+\])* +[01]+ = (-?\d+)", text):
        fields.setdefault(name, []).append(int(value))
    return fields
