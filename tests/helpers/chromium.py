"""Open a page in headless Chromium and inspect the result."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def run_page(page: str, script: str, folder: Path, *, dark: bool = False, wait_ms: int = 1500) -> tuple[Any, list[str]]:
    """Open a page and evaluate JavaScript after `wait_ms`; skip the test where there is no Chromium.

    Returns:
        The value of the expression `script`, and the page's console lines.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("needs Chromium")
    write = f"document.body.dataset.seen = JSON.stringify({script})"
    file = folder / "page.html"
    file.write_text(page + f"<script>setTimeout(() => {{ {write} }}, {wait_ms})</script>")
    ended = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"),
            "--window-size=500,800",
            f"--user-data-dir={folder / 'profile'}",
            f"--virtual-time-budget={wait_ms + 500}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    found = re.search(r'data-seen="([^"]*)"', ended.stdout)
    assert found, ended.stdout[-500:]
    return json.loads(html.unescape(found[1])), [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
