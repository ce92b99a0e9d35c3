"""Options for how `prepare` stores videos, and the settings that follow from them."""

import argparse
import re
from typing import Any

from configs.errors import UserError
from configs.options import whole_number
from dali_pipelines.store.encode import Encoding, rounded
from dali_pipelines.store.nvdec import MULTIPLE, NVDEC_MIN
from dali_pipelines.store.remux import UNENCODED

# Recipes scale to 112, 128 and 144.
SHORT_SIDE = {"h264": 144, "mjpeg": 144, "rawvideo": 144, "vp9": 144, "hevc": NVDEC_MIN["hevc"][1]}
GOP = {"h264": 1, "mjpeg": 1, "rawvideo": 1, "vp9": 16, "hevc": 16}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `chosen` reads."""
    parser.add_argument(
        "--codec",
        default="h264",
        choices=(*SHORT_SIDE, *UNENCODED),
        help="h264 (default) for CPU and GPU; rawvideo, which is large, or mjpeg without a GPU; hevc with one; vp9 for "
        "DALI's own decoder on both; copy keeps the encoded frames; original only indexes the files in place",
    )
    gops, sides = (", ".join(f"{value} for {codec}" for codec, value in of.items()) for of in (GOP, SHORT_SIDE))
    parser.add_argument("--gop", type=whole_number(1), help=f"frames from key frame to key frame (default {gops})")
    shorter = f"pixels of the shorter side, never scaled up (default {sides})"
    parser.add_argument("--short-side", type=whole_number(1), help=shorter)
    parser.add_argument("--size", metavar="WxH", help="exact width and height instead")
    parser.add_argument(
        "--crf", type=whole_number(0), help="quality (mjpeg: quantizer), lower is better (default by codec)"
    )


def encoding_of(codec: str, **given: Any) -> Encoding:
    """Return the Encoding of a codec, with the default GOP and short side where none, or None, is given."""
    default = {"gop": GOP[codec]} | ({} if given.get("size") else {"short_side": SHORT_SIDE[codec]})
    return Encoding(codec, **default | {key: value for key, value in given.items() if value is not None})


def chosen(options: argparse.Namespace) -> Encoding | str:
    """Return the Encoding of the options, or "copy" or "original"; UserError for incompatible options."""
    keys = ("gop", "short_side", "size", "crf")
    given = {key: value for key in keys if (value := getattr(options, key)) is not None}
    if options.codec in UNENCODED:
        if given:
            flag = "--" + next(iter(given)).replace("_", "-")
            raise UserError(f"{flag} has no effect with --codec {options.codec}: leave it out, or use --codec h264")
        return str(options.codec)
    if "size" in given:
        given["size"] = _size(given["size"])
    encoding = encoding_of(options.codec, **given)
    for side in sorted({encoding.short_side or MULTIPLE, *(encoding.size or ())}):
        if side != rounded(side):
            print(f"note: {side} pixels become {rounded(side)}, sides are multiples of {MULTIPLE}")
    return encoding


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise UserError(f"--size {text!r} must be WIDTHxHEIGHT in pixels, as in 176x128")
    return int(match[1]), int(match[2])
