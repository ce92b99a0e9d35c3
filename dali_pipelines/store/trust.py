"""Restrict where an index from elsewhere may point: its own folder, and places that the user trusts."""

import os
from collections.abc import Iterator
from pathlib import Path

from configs.errors import UserError, printable
from configs.plugins import TRUST, trusted
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.storage import is_url
from dali_pipelines.store.table import Table


def outside(table: Table) -> Iterator[str]:
    """Yield sources that may be outside the index's folder, judged by their paths alone."""
    for source in Ragged(table.sources.values, table.sources.starts).texts():
        if is_url(source) or source.startswith("/") or ".." in source.split("/"):
            yield source


def require_inside(table: Table, root: str | Path) -> None:
    """Raise UserError for an index that was written elsewhere and points outside its folder.

    `prepare --codec original` writes such paths at its user's request; a stranger may write any.
    """
    made_at, root = table.made_at.text(0) if table.made_at else "", str(root)
    if made_at and made_at in (os.path.abspath(root), os.path.realpath(root)):
        return
    allowed = tuple(f"{place.rstrip('/')}/" for place in (*trusted(), root))
    strange = [source for source in outside(table) if ".." in source.split("/") or not source.startswith(allowed)]
    if not strange:
        return
    made = f" for {printable(made_at)}" * bool(made_at)
    folders = [os.path.dirname(source) for source in strange]
    shared = os.path.commonpath(folders) if all(map(os.path.isabs, folders)) else ""
    raise UserError(
        f"the index of {root} was made elsewhere{made}, and names a video outside of it: {printable(strange[0])}. "
        "Prepare the sources again, or, if videos there may be read, set "
        f"{TRUST}={printable(shared if shared.strip('/') else folders[0])}"
    )
