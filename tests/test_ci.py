"""The GitHub workflow and .ci/run call the same make targets, on every supported Python."""

import configparser
import re

import yaml

from tests.helpers.runs import ROOT

JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def called(text: str) -> set[str]:
    """Return the make targets that the shell lines call."""
    return set(re.findall(r"\bmake (?:\w+=\S+ )*([\w-]+)", text))


def test_the_workflow_runs_existing_targets_and_all_of_ci_run():
    in_workflow = called("\n".join(step.get("run", "") for job in JOBS.values() for step in job["steps"]))
    in_script = called((ROOT / ".ci" / "run").read_text())
    assert in_script
    assert in_script <= in_workflow <= TARGETS


def test_the_workflow_tests_the_oldest_python_and_the_next_two():
    oldest = re.match(r">=3\.(\d+)", SETUP["options"]["python_requires"])
    assert oldest
    expected = [f"3.{int(oldest[1]) + later}" for later in range(3)]
    assert JOBS["test"]["strategy"]["matrix"]["python"] == expected


def test_the_citation_has_the_installed_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == SETUP["metadata"]["version"]
