"""What every part of one open backend works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...model.options import BackendOptions
    from .committer import Committer
    from .documents import Documents
    from .foreign_keys import ForeignKeys
    from .keys import Keys
    from .mongo_gateway import MongoGateway
    from .redis_gateway import RedisGateway
    from .scripts import Scripts
    from .store_clock import StoreClock
    from .write_behind import WriteBehindQueue


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """The two gateways, the queues in front of them, and the formats."""

    options: BackendOptions
    keys: Keys
    documents: Documents
    scripts: Scripts
    clock: StoreClock
    mongo: MongoGateway
    redis: RedisGateway
    committer: Committer
    write_behind: WriteBehindQueue
    foreign_keys: ForeignKeys
