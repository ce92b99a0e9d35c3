"""Web pages that need no other file: one style in light and dark, pictures inside the page."""

import base64
import html
import io
from pathlib import Path
from typing import Any

from PIL.Image import Image

FOLDER = Path(__file__).parent


def document(title: str, body: str, *, script: str = "") -> str:
    """Return a page.

    Args:
        title: plain text.
        body: HTML.
        script: a file of this folder to run when the page has been read.
    """
    style, code = ((FOLDER / name).read_text() if name else "" for name in ("style.css", script))
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    run = f"<script>{code}</script>" if code else ""
    return f"{head}<title>{html.escape(title)}</title><style>{style}</style>{body}{run}</html>\n"


def data_url(picture: Image, kind: str, **options: Any) -> str:
    """Encode a picture as a URL that holds it; `kind` is jpeg, png or webp, options those of Pillow."""
    file = io.BytesIO()
    picture.save(file, kind.upper(), **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
