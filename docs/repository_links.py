"""A hook of MkDocs: links from a page to files outside docs/ work on the site too.

A page links to a file of the repository as a reader of the repository would, relative to itself. The site gets a copy
of that file below repository/, code and text as .txt, which a browser shows instead of saving it. MkDocs then checks
the link like any other.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(?:\.\./)+[^)#\s]+")
PICTURES = (".png", ".svg")
SPECS = re.compile(r" \(specs/[^)]*\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to. A file that is not there stays a dead link, which MkDocs reports."""
    root = Path(config.docs_dir).parent
    for page in list(files.documentation_pages()):
        for target in outside(page.content_string, page.src_uri):
            if (root / target).is_file() and copy_of(target) not in files.src_uris:
                files.append(File.generated(config, copy_of(target), abs_src_path=str(root / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page to the copies."""
    here = posixpath.dirname(page.file.src_uri)

    def to_copy(match: re.Match[str]) -> str:
        target = resolve(match[0], page.file.src_uri)
        return posixpath.relpath(copy_of(target), here) if target else match[0]

    return LINK.sub(to_copy, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out what docstrings say of specs: they are not in the repository."""
    return SPECS.sub("", html)


def outside(markdown: str, src_uri: str) -> Iterator[str]:
    """Yield the files outside docs/ that a page links to, relative to the repository."""
    for link in LINK.findall(markdown):
        if target := resolve(link, src_uri):
            yield target


def resolve(link: str, src_uri: str) -> str | None:
    """Return a link's file relative to the repository; None for one in docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(src_uri), link))
    return None if path.startswith("docs/") else path


def copy_of(target: str) -> str:
    """Return where the site has the copy of a file."""
    return f"repository/{target}" if target.endswith(PICTURES) else f"repository/{target}.txt"
