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
    from .lane import RedisLane
    from .mongo_door import MongoDoor
    from .redis_door import RedisDoor
    from .scripts import Scripts
    from .store_clock import StoreClock


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """The two doors, the two roads to them, and the formats."""

    options: BackendOptions
    keys: Keys
    documents: Documents
    scripts: Scripts
    clock: StoreClock
    mongo: MongoDoor
    redis: RedisDoor
    committer: Committer
    lane: RedisLane
    foreign_keys: ForeignKeys
