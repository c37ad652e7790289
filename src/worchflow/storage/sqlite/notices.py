"""Notices to those who watch an execution."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from ..contract.notices import NoticeStore
from .peers import Interest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..contract.notices import Subscription
    from .loop_binding import Opened


class Notices(NoticeStore):
    """Notices of one backend, from its own process and from others."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @override
    @asynccontextmanager
    async def watch(
        self, execution_id: str, *, progress: bool = True
    ) -> AsyncGenerator[Subscription, None]:
        binding = self._opened()
        with binding.wakeup.watching_one(
            execution_id, progress=progress
        ) as subscription:
            peers = binding.shared.peers
            interest = Interest.PROGRESS if progress else Interest.ENDS
            if peers is not None and not peers.asked_for(interest):
                await asyncio.to_thread(peers.ask_for, interest)
            yield subscription
