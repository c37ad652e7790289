"""A peer that cannot be had is skipped, aloud."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import environments
from benchmarks.__main__ import add_peers
from benchmarks.peers import PEERS_BY_NAME, Servers

from worchflow.bench.sizes import QUICK
from worchflow.bench.workloads import Bench

MISSING = "a-package-that-nobody-has-made==1.0"


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of peers and a cache of the test's own."""
    monkeypatch.setattr(environments, "PEERS", tmp_path / "peers")
    monkeypatch.setattr(environments, "CACHE", tmp_path / "cache")
    # No package is looked up in a test.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "peers"


@pytest.mark.timeout(120)
def test_a_peer_that_cannot_be_installed_is_skipped_with_the_reason(
    peers: Path,
) -> None:
    folder = peers / "ghost"
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text(MISSING)
    told: list[str] = []
    bench = Bench([], QUICK, told.append)
    ghost = replace(PEERS_BY_NAME["redflow"], name="ghost", label="Ghost")

    versions = add_peers(bench, [ghost], Servers(None, ExitStack()))  # type: ignore[arg-type]

    assert list(bench.systems) == []
    assert versions == {}
    assert "cannot be installed" in bench.skipped["Ghost"]
    assert "a-package-that-nobody-has-made" in bench.skipped["Ghost"]
    assert told[-1:] == [f"skipped Ghost: {bench.skipped['Ghost']}"]


@pytest.mark.parametrize("name", PEERS_BY_NAME)
def test_every_peer_has_its_program_and_exact_versions(name: str) -> None:
    peer = PEERS_BY_NAME[name]
    folder = environments.PEERS / (peer.folder or peer.name)
    requirements = (folder / "requirements.txt").read_text().splitlines()

    assert (folder / "program.py").is_file()
    assert all("==" in line for line in requirements)
    assert any(line.startswith(peer.package) for line in requirements)
