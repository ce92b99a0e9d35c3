"""The docs build into a site without dead links, and the README's links resolve."""

import re
from urllib.parse import urlsplit

import pytest

from tests.helpers.runs import ROOT

mkdocs_config = pytest.importorskip("mkdocs.config")
build = pytest.importorskip("mkdocs.commands.build")
README = (ROOT / "README.md").read_text()
LINKS = re.findall(r"\]\(([^)\s]+)\)", README)


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path, monkeypatch):
    """MkDocs warns about dead links, dead anchors and missing pages; strict mode makes these errors."""
    monkeypatch.chdir(ROOT)
    config = mkdocs_config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    assert config.strict
    config.plugins.on_startup(command="build", dirty=False)
    build.build(config)
    config.plugins.on_shutdown()
    page = (tmp_path / "tasks" / "ctp.html").read_text()
    assert 'href="../repository/dali_pipelines/tasks/ctp.py.txt"' in page
    copied = (tmp_path / "repository" / "dali_pipelines" / "tasks" / "ctp.py.txt").read_text()
    assert copied == (ROOT / "dali_pipelines" / "tasks" / "ctp.py").read_text()
    assert "velocity" in page  # options are rendered from the code
    assert not list(tmp_path.rglob("*.py"))


@pytest.mark.parametrize("link", [link for link in LINKS if "://" not in link])
def test_readme_links_lead_to_existing_files_and_sections(link):
    path, _, anchor = link.partition("#")
    target = ROOT / path
    assert target.exists()
    if anchor:
        titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_external_links_are_complete_https_urls():
    pages = [README, *(page.read_text() for page in (ROOT / "docs").rglob("*.md"))]
    links = [link for page in pages for link in re.findall(r"\]\((\w+://[^)\s]+)\)", page)]
    assert links
    assert all(urlsplit(link).scheme == "https" and "." in urlsplit(link).netloc for link in links)
