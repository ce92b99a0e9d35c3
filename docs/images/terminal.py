"""Draw terminal.png, a terminal in mid-training on the demo videos: `python docs/images/terminal.py DATA STEP`.

DATA is the folder of `make demo`, or of `python -m dali_pipelines.demo_data`; the picture is taken at the given step.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import tempfile
import termios
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 100, 30
FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSansMono.ttf")
SIZE, LINE, MARGIN = 15, 21, 14  # pixels
GROUND, TEXT = "#14161b", "#d7dae0"


def screen(command: list[str], until: str) -> list[str]:
    """Run a command on a terminal until its output has the words; return the lines that are on it then."""
    child, terminal = pty.fork()
    if not child:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    output = b""
    while not re.search(f"{until}.*\r".encode(), output):
        output += os.read(terminal, 1 << 16)
    os.kill(child, signal.SIGTERM)
    lines = output.decode().rpartition("\r")[0].split("\n")
    return [line.rstrip("\r").rpartition("\r")[2] for line in lines]  # what is drawn over is gone


def draw(lines: list[str]) -> Image.Image:
    """Draw lines of text as a terminal shows them."""
    font = ImageFont.truetype(FONT, SIZE)
    width = round(font.getlength("x") * COLUMNS)
    picture = Image.new("RGB", (width + 2 * MARGIN, LINE * len(lines) + 2 * MARGIN), GROUND)
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((MARGIN, MARGIN + LINE * number), line, TEXT, font)
    return picture


if __name__ == "__main__":
    data, step = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--config", "ctp/demo", "--data-dir", data, "--work-dir", folder]
        lines = screen([sys.executable, "-m", "clipfeed", "pretrain", *options], f"step {step}/")
    picture = draw(["$ clipfeed pretrain --config ctp/demo", *lines])
    picture.quantize(16).save(Path(__file__).with_suffix(".png"), optimize=True)
