"""All items of the report, in the order in which they are worth the time of a machine that is lent for minutes."""

from bench.gpu_checks import CODECS, ROOT, SIZES
from configs.errors import UserError

TASKS = tuple(sorted(path.stem for path in (ROOT / "dali_pipelines/tasks").glob("[!_]*.py")))
DAMAGE = ("garbage", "cut_off", "damaged", "beyond", "loader")

# No module that needs torch or DALI is imported for this: one of them may be what does not work.
ITEMS: dict[str, tuple[str, ...]] = {
    "facts": ("machine", "driver", "libraries", "decoders"),
    "videos": CODECS,
    "decode": CODECS,
    "parity": TASKS,
    "throughput": ("loader_vp9", "training", "loader_hevc", "loader_rawvideo"),
    "questions": (
        *("session_cache", "threads", *(f"codecs_{size}" for size in SIZES)),
        *("cut", "jpeg", "multi_paste", "small_hevc"),
    ),
    "recovery": tuple(f"{kind}_{codec}" for codec in CODECS for kind in DAMAGE),
}
LIMITS = {
    "facts": 60,
    "videos": 90,
    "decode": 45,
    "parity": 45,
    "throughput": 130,
    "questions": 100,
    "recovery": 30,
}
"""Seconds for one item, the start of its process included."""


def chosen(only: list[str] | None) -> list[str]:
    """The names `part.item` of all items, or of the parts and items in `only`."""
    names = [f"{part}.{item}" for part, items in ITEMS.items() for item in items]
    unknown = [name for name in only or () if name not in ITEMS and name not in names]
    if unknown:
        raise UserError(
            f"no item {', '.join(unknown)}; there are the parts {', '.join(ITEMS)} and items like {names[4]}"
        )
    return [name for name in names if only is None or name in only or name.split(".")[0] in only]
