"""Redis and MongoDB as one store: MongoDB decides, Redis distributes and wakes."""

from __future__ import annotations

from .backend import RedisMongoBackend

__all__ = ["RedisMongoBackend"]
