"""The items of the report, most valuable first, with the seconds that each should take on a GPU and 16 cores."""

from bench.gpu_checks import ROOT
from configs.errors import UserError

FIRST = ("ctp", "recognition", "moco")
TASKS = (*FIRST, *sorted({p.stem for p in (ROOT / "dali_pipelines/tasks").glob("[!_]*.py")}.difference(FIRST)))
DAMAGE = ("loader", "garbage", "cut_off", "damaged", "beyond")
PRETEXT = tuple(task for task in TASKS if (ROOT / "nets/tasks" / f"{task}.py").is_file())

# This imports no module that needs torch or DALI: one of them may be broken.
SECONDS: dict[str, dict[str, int]] = {
    "facts": {"machine": 2, "packages": 4, "gpu": 6},
    "default_store": {"made": 5, "clips": 5, "old_encoder": 4, "instead": 1},
    "parity": dict.fromkeys(TASKS, 5),
    "networks": {**dict.fromkeys(PRETEXT, 7), "augment": 8, "compile": 40},
    "decode": {"h264_gop1": 11, "h264_gop8": 11, "hevc_gop16": 14, "vp9_gop16": 12, "repeat": 10},
    "loader": {"dropped": 8, "threads": 12, **dict.fromkeys(TASKS, 7), "evaluation": 12},  # ten times the frames
    "training": {"batch_16": 18, "batch_32": 16, "rawvideo": 16, "mjpeg": 16},
    "questions": {
        "session_cache": 8,
        "gop_strides": 8,
        **{f"size_{size}": 8 for size in ("128x128", "256x256", "320x240")},
        "small_hevc": 3,
    },
    "recovery": {f"{kind}_{codec}": 3 for codec in ("h264", "hevc", "vp9") for kind in DAMAGE},
}
ITEMS = {part: tuple(items) for part, items in SECONDS.items()}


def time_limit(name: str) -> int:
    """Return the time limit of `part.item`, seconds; it allows for imports from a cold disk."""
    part, item = name.split(".")
    return 20 + 3 * SECONDS[part][item]


def select_items(only: list[str] | None = None) -> list[str]:
    """Return the names `part.item` of all items, or of the parts and items in `only`."""
    names = [f"{part}.{item}" for part, items in ITEMS.items() for item in items]
    unknown = [name for name in only or () if name not in ITEMS and name not in names]
    if unknown:
        raise UserError(
            f"no item {', '.join(unknown)}; there are the parts {', '.join(ITEMS)} and items like {names[4]}"
        )
    return [name for name in names if only is None or name in only or name.split(".")[0] in only]
