"""Durable, step-based workflows: on Redis and MongoDB, or on one SQLite file."""

from __future__ import annotations

__version__ = "0.1.0"
