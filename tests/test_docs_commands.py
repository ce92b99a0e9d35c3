"""docs/commands.md matches the commands."""

import pytest

from tests.helpers.commands_page import page
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow


def test_the_commands_page_matches_the_parsers():
    assert (ROOT / "docs/commands.md").read_text() == page(), "python -m tests.helpers.commands_page > docs/commands.md"
