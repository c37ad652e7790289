"""Expressions of update pipelines that no odd value of a document can stop.

Where an expression fails for one document, MongoDB refuses the update for all that
come after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.int64 import Int64

if TYPE_CHECKING:
    from .documents import Document


def as_long(field: str) -> Document:
    """A field as a whole number; 0 for what is none."""
    return {
        "$convert": {
            "input": field,
            "to": "long",
            "onError": Int64(0),
            "onNull": Int64(0),
        }
    }


def as_date(field: str) -> Document:
    """A field of milliseconds as a date; now for what is none."""
    return {
        "$convert": {
            "input": {
                "$convert": {
                    "input": field,
                    "to": "long",
                    "onError": None,
                    "onNull": None,
                }
            },
            "to": "date",
            "onError": "$$NOW",
            "onNull": "$$NOW",
        }
    }


def date_or(field: str, otherwise: Document | None) -> Document:
    """A field as a date; `otherwise` for what is none."""
    return {
        "$convert": {
            "input": field,
            "to": "date",
            "onError": otherwise,
            "onNull": otherwise,
        }
    }


CREATED_AT = as_date("$createdAt")
"""The creation time as a date; now for what is none."""
