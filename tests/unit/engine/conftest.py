"""An engine for tests of its modules."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.engine.attempts import Engine


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """One that makes attempts of one execution, on a store of its own."""
    async with Engine() as engine:
        yield engine
