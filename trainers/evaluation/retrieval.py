"""Nearest-neighbor retrieval on fixed features, and its files (specs/evaluation.md 6).

The gallery is a recipe's training videos, the queries are its test videos.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from configs.errors import first_names
from configs.words import counted
from dali_pipelines.store.files import replacing, write_csv, write_json
from trainers.evaluation import contact_sheet
from trainers.evaluation.contact_sheet import OTHER, QUERY, SAME, Item
from trainers.evaluation.features import Features, chance, require_readable
from trainers.evaluation.intervals import in_words, wilson
from trainers.evaluation.saved_features import Sets

KS = (1, 5, 10, 20, 50)
LISTED = 10  # nearest videos per query in neighbors.csv
SHEET = (12, 6)  # queries in neighbors.png, and nearest videos of each
BLOCK = 256  # queries whose cosines are in memory at once
DECIMALS = 9  # of a cosine: smaller differences are rounding errors


@dataclass(frozen=True, eq=False)
class Nearest:
    """Results of Q queries in a gallery of G videos."""

    ahead: np.ndarray
    """int64 (Q,), the number of videos of other classes that are at least as near as the nearest one of the query's
    class; G if its class has none, or the query could not be read. R@k is the share of values below k."""
    rows: np.ndarray
    """int64 (Q, up to 10), gallery rows of the nearest videos, nearest first, ties by name; -1 for an unreadable
    query."""
    cosines: np.ndarray
    """float64, of the shape of `rows`; nan for an unreadable query."""


def search(queries: Features, gallery: Features) -> Nearest:
    """Find the nearest gallery videos by cosine, after subtracting each set's own mean (specs/evaluation.md 6).

    Results do not depend on the order of the videos. In `ahead`, ties count for the other class, so a network with the
    same features for all videos finds nothing. UserError if no gallery video could be read.
    """
    require_readable(gallery)
    query_rows, gallery_rows = _readable_by_name(queries), _readable_by_name(gallery)
    a, b = _directions(queries.values[query_rows]), _directions(gallery.values[gallery_rows])
    ahead = np.full(len(queries.names), len(gallery_rows), np.int64)
    rows = np.full((len(queries.names), min(LISTED, len(gallery_rows))), -1, np.int64)
    cosines = np.full(rows.shape, np.nan)
    for start in range(0, len(query_rows), BLOCK):
        block = query_rows[start : start + BLOCK]
        cosine = np.round(a[start : start + BLOCK] @ b.T, DECIMALS)
        own = queries.labels[block, None] == gallery.labels[gallery_rows]
        best = np.where(own, cosine, -np.inf).max(1, keepdims=True)
        ahead[block] = (~own & (cosine >= best)).sum(1)
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : rows.shape[1]]
        rows[block], cosines[block] = gallery_rows[nearest], np.take_along_axis(cosine, nearest, 1)
    return Nearest(ahead, rows, cosines)


def _readable_by_name(features: Features) -> np.ndarray:
    return np.array(sorted(np.flatnonzero(features.readable).tolist(), key=features.names.__getitem__), np.int64)


def _directions(values: np.ndarray) -> np.ndarray:
    """Subtract the mean over N from (N, C) and scale rows to length 1, float64; a row of zeros stays as it is."""
    centered = values - values.mean(0, dtype=np.float64)
    directions: np.ndarray = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-12)
    return directions


def write_retrieval(sets: Sets, out: Path) -> str:
    """Write neighbors.csv, neighbors.png and, last, retrieval.json; return the results as text."""
    (out / "retrieval.json").unlink(missing_ok=True)
    found, total = search(sets.queries, sets.gallery), len(sets.queries.names)
    recall = {k: float((found.ahead < k).mean()) for k in KS if k <= sets.facts["gallery"]}
    by_chance, interval = chance(sets.queries, sets.gallery), wilson(int((found.ahead < 1).sum()), total)
    _write_neighbors(sets, found, out / "neighbors.csv")
    title = f"R@1 {100 * recall[1]:.1f} % of {counted(total, 'query', 'queries')}, {100 * by_chance:.1f} % by chance"
    with replacing(out / "neighbors.png") as part:
        _sheet(sets, found, title).save(part, "PNG")
    measured = {"recall": recall, "recall_1_interval": interval, "chance_1": by_chance}
    write_json(out / "retrieval.json", sets.facts | measured)
    lines = [f"{f'R@{k}':<12}{100 * share:6.2f} %" for k, share in recall.items()]
    lines[0] += f"   {in_words(interval, by_chance)}"
    return "\n".join([*lines, *count_lines(sets, "as misses"), f"files       {out}"])


def _write_neighbors(sets: Sets, found: Nearest, path: Path) -> None:
    """Write one line per query and neighbor; an unreadable query gets a line without a neighbor."""
    names, labels, classes = sets.gallery.names, sets.gallery.labels, sets.gallery_index.class_names
    table: list[tuple[object, ...]] = [("query", "class", "rank", "nearest", "nearest_class", "same", "cosine")]
    for query, (name, label) in enumerate(zip(sets.queries.names, sets.queries.labels, strict=True)):
        if math.isnan(found.cosines[query, 0]):
            table.append((name, classes[label], *[""] * 5))
            continue
        for rank, (row, cosine) in enumerate(zip(found.rows[query], found.cosines[query], strict=True), 1):
            near = (names[row], classes[labels[row]], int(labels[row] == label), f"{cosine:.6f}")
            table.append((name, classes[label], rank, *near))
    write_csv(path, table)


def _sheet(sets: Sets, found: Nearest, title: str) -> Image.Image:
    readable = np.flatnonzero(sets.queries.readable)
    labels, hits = sets.queries.labels, found.ahead < 1
    chosen = readable[contact_sheet.choose(labels[readable], hits[readable], SHEET[0])]
    rows = []
    for query in chosen.tolist():
        rows.append([Item(sets.queries_index, query, QUERY, "query")])
        for row, cosine in zip(found.rows[query, : SHEET[1]].tolist(), found.cosines[query], strict=False):
            color = SAME if sets.gallery.labels[row] == labels[query] else OTHER
            rows[-1].append(Item(sets.gallery_index, row, color, f"{cosine:.3f}"))
    right = int(hits[chosen].sum())
    hits_shown = counted(right, "query", "queries")
    details = f"Shown: {hits_shown} with a nearest video of the right class, {len(chosen) - right} without."
    return contact_sheet.draw(f"{title}\n{details} Green: the query's class. Red: another.", rows)


def count_lines(sets: Sets, as_what: str) -> list[str]:
    """Format the numbers of videos, and the unreadable ones, as lines to print."""
    lines = [f"queries     {sets.facts['queries']:6}", f"gallery     {sets.facts['gallery']:6}"]
    for what, happens in (("queries", f"counted {as_what}"), ("gallery", "left out")):
        if names := list(sets.facts["unreadable"][what]):
            lines.append(unreadable_line(names, f"{what}, {happens}"))
    return lines


def unreadable_line(names: Sequence[str], note: str) -> str:
    """Format the line about unreadable videos: their number, a note, and the first names."""
    return f"unreadable  {len(names):6}     ({note}: {first_names(names)})"
