"""Self-contained web pages: one style, light and dark, and embedded pictures."""

import base64
import html
import io
from pathlib import Path
from typing import Any

from PIL.Image import Image

FOLDER = Path(__file__).parent


def document(title: str, body: str, *, script: str = "") -> str:
    """Render a page of HTML; names that are not UTF-8 have their bytes escaped.

    `title` is plain text, `script` a file of this folder to run at the end of the page.
    """
    style, code = ((FOLDER / name).read_text() if name else "" for name in ("style.css", script))
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    run = f"<script>{code}</script>" if code else ""
    page = f"{head}<title>{html.escape(title)}</title><style>{style}</style>{body}{run}</html>\n"
    return page.encode(errors="backslashreplace").decode()


def encoded(picture: Image, kind: str, **options: Any) -> bytes:
    """Encode a picture; `kind` is jpeg, png or webp, options are Pillow's."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def data_url(picture: Image, kind: str, **options: Any) -> str:
    """Encode a picture as a data URL; see `encoded`."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded(picture, kind, **options)).decode()}"
