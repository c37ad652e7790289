"""The stores and runs of the chaos tests."""

from __future__ import annotations

from tests.chaos.conftest import make_run, stores

__all__ = ["make_run", "stores"]
