"""The code blocks of README.md and of the pages in docs/.

Python blocks run in page order, with the names that earlier ones define. `<!-- not run: REASON -->` on the line before
says why a block is only compiled. A title names the file of a block; such a block is not run either.
"""

import re
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any

from tests.helpers.runs import ROOT

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"\n]+)\")?\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is the page's number of its first line."""

    page: Path
    section: str
    line: int
    language: str
    title: str
    code: str
    why_not_run: str

    @property
    def runs(self) -> bool:
        """Whether this is Python to run."""
        return self.language == "python" and not self.title and not self.why_not_run

    @cached_property
    def compiled(self) -> CodeType:
        """The compiled code, whose errors name the page and its line."""
        return compile("\n" * (self.line - 1) + self.code, str(self.page), "exec")


def blocks(page: Path) -> list[Block]:
    """List the blocks of a page that name their language."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in FENCE.finditer(text):
        before = text[: match.start("code")]
        section = re.findall(r"^## (.+)$", before, re.MULTILINE)
        language, title, why = (match[name] or "" for name in ("language", "title", "why"))
        code = textwrap.dedent(match["code"])
        found.append(Block(page, section[-1] if section else "", before.count("\n") + 1, language, title, code, why))
    return found


def pages() -> list[Path]:
    """List all pages with Python blocks."""
    return [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if python_blocks(page)]


def python_blocks(page: Path) -> list[Block]:
    """List a page's Python blocks."""
    return [block for block in blocks(page) if block.language == "python"]


def run(page: Path) -> dict[str, Any]:
    """Run a page's Python in the current directory; return all names that it defines."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.runs:
            exec(block.compiled, names)
    return names


def new_files(page: Path) -> dict[str, str]:
    """Return the new files of a page: title -> content."""
    return {block.title: block.code for block in blocks(page) if block.title and block.language != "diff"}


def apply_diff(text: str, diff: str) -> str:
    """Apply a diff: hunks of ` `, `-` and `+` lines, separated by `@@`, each of which matches in exactly one place."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        old, new = (
            "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[:1] != left_out) for left_out in ("+", "-")
        )
        assert text.count(old) == 1, f"{text.count(old)} places for\n{old}"
        text = text.replace(old, new)
    return text
