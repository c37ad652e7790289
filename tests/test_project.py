"""The repository keeps to itself: no machine in it, scripts that run, one version."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from worchflow import __version__

ROOT = Path(__file__).parent.parent

# Registries, their mirrors and file hosts: where packages come from is the business
# of the machine that installs them. Written in parts, so as not to find itself.
HOSTS = (
    r"pypi\.(?:org|python)",
    r"files\.python" + r"hosted",
    r"registry\.npm" + r"js",
    r"registry\.yarn" + r"pkg",
    r"deb\.deb" + r"ian\.org",
    r"archive\.ub" + r"untu\.com",
    r"artifact" + r"ory",
    r"--(?:extra-)?index" + r"-url",
    r"--find" + r"-links",
    r"--trusted" + r"-host",
)
# Absolute paths of one machine or one person's home.
PATHS = (
    r"(?<![\w.~/$}])/ho" + r"me/[a-z]",
    r"(?<![\w.~/$}])/Us" + r"ers/[A-Za-z]",
    r"(?<![\w.~/$}])/ro" + r"ot/",
    r"(?<![\w.~/$}:])/wo" + r"rk/",
)
FORBIDDEN = re.compile("|".join((*HOSTS, *PATHS)))


def tracked_files() -> list[Path]:
    """Return what git keeps, or skip where the tests came without a repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not in a git repository")
    names = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [path for path in names if path.is_file()]


@pytest.mark.parametrize(
    "line",
    [
        "index = https://py" + "pi.org/simple",
        "see /ho" + "me/anna/notes",
        'open("/wo' + 'rk/x")',
        "pip install --index" + "-url x y",
    ],
)
def test_the_pattern_finds_a_host_or_a_machine_path(line: str) -> None:
    assert FORBIDDEN.search(line)


@pytest.mark.parametrize(
    "line", ["GET /api/work/1", "https://example.com/home/x", "$HOME/x", "src/work/x"]
)
def test_the_pattern_leaves_other_addresses_alone(line: str) -> None:
    assert not FORBIDDEN.search(line)


def test_no_file_names_a_package_host_or_a_path_of_one_machine() -> None:
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match.group()}"
            for number, line in enumerate(lines, 1)
            if (match := FORBIDDEN.search(line))
        ]

    assert found == []


def test_the_scripts_can_be_run() -> None:
    scripts = [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]
    programs = [p for p in scripts if p.is_file() and p.suffix == ""]

    assert len(programs) >= 4
    for path in programs:
        assert os.access(path, os.X_OK), f"{path.name} is not executable"
        assert path.read_text().startswith("#!"), f"{path.name} names no interpreter"


def test_every_package_for_tests_has_one_exact_version() -> None:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]

    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*(; .+)?")
    assert [pin for pin in pins if not exact.fullmatch(pin)] == []


def test_every_declared_dependency_is_pinned_for_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *(d for extra in optional for d in extra)]
    names = {re.split(r"[^A-Za-z0-9_.-]", d)[0].lower() for d in declared}
    pinned = (ROOT / "requirements-dev.txt").read_text().lower()

    missing = {n for n in names - {"worchflow"} if f"\n{n}==" not in pinned}
    assert missing == set()


def test_the_changelog_tells_of_this_version() -> None:
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("there is no changelog before the first release")

    headings = re.findall(r"^## \[?([^\]\s]+)", changelog.read_text(), re.MULTILINE)
    assert __version__ in headings
