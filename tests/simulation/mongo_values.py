"""How MongoDB compares values and evaluates queries, expressions and updates.

Only what this library uses: anything else raises, so that nothing is ever answered
that a real server would answer otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId

Document = dict[str, Any]


class Missing:
    """What a field that is not there has for a value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the driver's dates are naive and UTC


class EvaluationError(Exception):
    """An expression cannot be evaluated: the server refuses the one write."""


def rank(value: Any) -> tuple[int, Any]:
    """A key that orders values of all types as BSON does."""
    kind, key = _RANKS[value.__class__]
    return kind, value if key is None else key(value)


def milliseconds(value: datetime | DatetimeMS) -> int:
    """A date as milliseconds since 1970."""
    if isinstance(value, DatetimeMS):
        return int(value)
    return (value - EPOCH) // timedelta(milliseconds=1)


def _nothing(_: Any) -> int:
    return 0


_RANKS: dict[type, tuple[int, Callable[[Any], Any] | None]] = {
    Missing: (0, _nothing),
    type(None): (1, _nothing),
    int: (2, None),
    Int64: (2, None),
    float: (2, None),
    str: (3, None),
    dict: (4, lambda value: [(key, rank(item)) for key, item in value.items()]),
    list: (5, lambda value: [rank(item) for item in value]),
    bytes: (6, None),
    ObjectId: (7, lambda value: value.binary),
    bool: (8, None),
    datetime: (9, milliseconds),
    DatetimeMS: (9, milliseconds),
}

# -- queries


def matches(document: Document, query: Document, now: datetime) -> bool:
    """Whether a query finds a document."""
    for field, condition in query.items():
        if field == "$or":
            found = any(matches(document, each, now) for each in condition)
        elif field == "$nor":
            found = not any(matches(document, each, now) for each in condition)
        elif field == "$and":
            found = all(matches(document, each, now) for each in condition)
        elif field == "$expr":
            found = is_true(evaluate(condition, document, now))
        elif field.startswith("$"):
            raise NotImplementedError(f"a query with {field}")
        else:
            found = _field_matches(document, field, condition)
        if not found:
            return False
    return True


def _field_matches(document: Document, field: str, condition: Any) -> bool:
    value = _look_up(document, field) if "." in field else document.get(field, MISSING)
    candidates = [value, *value] if isinstance(value, list) else [value]
    if not (isinstance(condition, dict) and condition and _is_operator(condition)):
        return any(_equal(each, condition) for each in candidates)
    return all(
        _OPERATORS[name](candidates, operand) for name, operand in condition.items()
    )


def _is_operator(condition: Document) -> bool:
    return next(iter(condition)).startswith("$")


def _look_up(document: Any, path: str) -> Any:
    first, _, rest = path.partition(".")
    if isinstance(document, list):
        found = [_look_up(each, path) for each in document]
        return [each for each in found if each is not MISSING]
    if not isinstance(document, dict):
        return MISSING
    value = document.get(first, MISSING)
    return _look_up(value, rest) if rest else value


def _equal(value: Any, wanted: Any) -> bool:
    if wanted is None:
        return value is None or value is MISSING
    if value is MISSING or value is None:
        return False
    return rank(value) == rank(wanted)


def _comparing(test: Callable[[Any, Any], bool]) -> Callable[[list[Any], Any], bool]:
    def compare(candidates: list[Any], operand: Any) -> bool:
        kind, wanted = rank(operand)
        ranks = map(rank, candidates)
        return any(own == kind and test(key, wanted) for own, key in ranks)

    return compare


def _has_type(candidates: list[Any], operand: Any) -> bool:
    if operand != "string":
        raise NotImplementedError(f"$type {operand!r}")
    return any(isinstance(each, str) for each in candidates)


def _is_not(candidates: list[Any], operand: Document) -> bool:
    return not all(_OPERATORS[name](candidates, each) for name, each in operand.items())


_OPERATORS: dict[str, Callable[[list[Any], Any], bool]] = {
    "$in": lambda values, wanted: any(_equal(v, w) for v in values for w in wanted),
    "$nin": lambda values, wanted: (
        not any(_equal(v, w) for v in values for w in wanted)
    ),
    "$ne": lambda values, wanted: not any(_equal(v, wanted) for v in values),
    "$gt": _comparing(lambda a, b: a > b),
    "$gte": _comparing(lambda a, b: a >= b),
    "$lt": _comparing(lambda a, b: a < b),
    "$lte": _comparing(lambda a, b: a <= b),
    "$exists": lambda values, wanted: (values[0] is not MISSING) is wanted,
    "$type": _has_type,
    "$not": _is_not,
}

# -- expressions


def is_true(value: Any) -> bool:
    """Whether a value counts as true."""
    return not (value is MISSING or value is None or value is False or value == 0)


def evaluate(expression: Any, document: Document, now: datetime) -> Any:
    """The value of an aggregation expression; `MISSING` for none."""
    if isinstance(expression, str):
        return _variable(expression, document, now)
    if isinstance(expression, dict):
        if len(expression) == 1 and _is_operator(expression):
            ((name, operand),) = expression.items()
            return _EXPRESSIONS[name](operand, document, now)
        values = {
            key: evaluate(each, document, now) for key, each in expression.items()
        }
        return {key: value for key, value in values.items() if value is not MISSING}
    if isinstance(expression, list):
        return [evaluate(each, document, now) for each in expression]
    return expression


def _variable(text: str, document: Document, now: datetime) -> Any:
    if not text.startswith("$"):
        return text
    if text == "$$NOW":
        return now
    if text == "$$ROOT":
        return document
    if text == "$$REMOVE":
        return MISSING
    if text.startswith("$$"):
        raise NotImplementedError(text)
    return _look_up(document, text[1:])


def _add(operand: Any, document: Document, now: datetime) -> Any:
    total: int = 0
    date: datetime | None = None
    for each in operand:
        value = evaluate(each, document, now)
        if value is MISSING or value is None:
            return None
        if isinstance(value, datetime):
            date = value
        elif isinstance(value, int) and not isinstance(value, bool):
            total += value
        else:
            raise EvaluationError(f"$add only supports numbers and dates: {value!r}")
    return total if date is None else date + timedelta(milliseconds=total)


def _most(operand: Any, document: Document, now: datetime) -> Any:
    values = [evaluate(each, document, now) for each in operand]
    known = [each for each in values if each is not MISSING and each is not None]
    return max(known, key=rank, default=None)


def _subtract(operand: Any, document: Document, now: datetime) -> Any:
    first, second = (evaluate(each, document, now) for each in operand)
    if isinstance(first, datetime) and isinstance(second, int):
        return first - timedelta(milliseconds=second)
    raise NotImplementedError(f"$subtract {first!r} {second!r}")


def _cond(operand: Any, document: Document, now: datetime) -> Any:
    test, then, otherwise = operand
    is_so = is_true(evaluate(test, document, now))
    return evaluate(then if is_so else otherwise, document, now)


def _switch(operand: Any, document: Document, now: datetime) -> Any:
    for branch in operand["branches"]:
        if is_true(evaluate(branch["case"], document, now)):
            return evaluate(branch["then"], document, now)
    return evaluate(operand["default"], document, now)


def _if_null(operand: Any, document: Document, now: datetime) -> Any:
    first, second = operand
    value = evaluate(first, document, now)
    if value is MISSING or value is None:
        return evaluate(second, document, now)
    return value


def _to_long(operand: Any, document: Document, now: datetime) -> Any:
    value = evaluate(operand, document, now)
    if value is MISSING or value is None:
        return None
    if isinstance(value, datetime | DatetimeMS):
        return milliseconds(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise EvaluationError(f"cannot convert {value!r} to a long")


def _to_date(operand: Any, document: Document, now: datetime) -> Any:
    value = evaluate(operand, document, now)
    if value is MISSING or value is None:
        return None
    if isinstance(value, datetime):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return EPOCH + timedelta(milliseconds=value)
    raise EvaluationError(f"cannot convert {value!r} to a date")


def _convert(operand: Any, document: Document, now: datetime) -> Any:
    convert = {"long": _to_long, "date": _to_date}[operand["to"]]
    try:
        value = convert(operand["input"], document, now)
    except EvaluationError:
        return evaluate(operand["onError"], document, now)
    return evaluate(operand["onNull"], document, now) if value is None else value


def _type(operand: Any, document: Document, now: datetime) -> Any:
    value = evaluate(operand, document, now)
    if isinstance(value, str):
        return "string"
    return "missing" if value is MISSING else "another"


def _merge(operand: Any, document: Document, now: datetime) -> Any:
    merged: Document = {}
    for each in operand:
        value = evaluate(each, document, now)
        if not isinstance(value, dict):
            raise EvaluationError(f"$mergeObjects of {value!r}")
        merged |= value
    return merged


def _item_at(operand: Any, document: Document, now: datetime) -> Any:
    array, index = (evaluate(each, document, now) for each in operand)
    return array[index] if 0 <= index < len(array) else MISSING


def _index_of(operand: Any, document: Document, now: datetime) -> Any:
    array, wanted = (evaluate(each, document, now) for each in operand)
    return next((i for i, each in enumerate(array) if _equal(each, wanted)), -1)


def _is_in(operand: Any, document: Document, now: datetime) -> bool:
    wanted, array = (evaluate(each, document, now) for each in operand)
    return any(_equal(each, wanted) for each in array)


def _concatenated(operand: Any, document: Document, now: datetime) -> Any:
    arrays = [evaluate(each, document, now) for each in operand]
    if any(each is MISSING or each is None for each in arrays):
        return None
    if not all(isinstance(each, list) for each in arrays):
        raise EvaluationError(f"$concatArrays of {arrays!r}")
    return [item for each in arrays for item in each]


def _all(operand: Any, document: Document, now: datetime) -> bool:
    return all(is_true(evaluate(each, document, now)) for each in operand)


def _any(operand: Any, document: Document, now: datetime) -> bool:
    return any(is_true(evaluate(each, document, now)) for each in operand)


def _ordering(test: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def compare(operand: Any, document: Document, now: datetime) -> bool:
        first, second = (rank(evaluate(each, document, now)) for each in operand)
        return test(first, second)

    return compare


_EXPRESSIONS: dict[str, Callable[[Any, Document, datetime], Any]] = {
    "$literal": lambda operand, document, now: operand,
    "$add": _add,
    "$subtract": _subtract,
    "$max": _most,
    "$cond": _cond,
    "$switch": _switch,
    "$ifNull": _if_null,
    "$toLong": _to_long,
    "$toDate": _to_date,
    "$convert": _convert,
    "$type": _type,
    "$mergeObjects": _merge,
    "$arrayElemAt": _item_at,
    "$indexOfArray": _index_of,
    "$concatArrays": _concatenated,
    "$in": _is_in,
    "$and": _all,
    "$or": _any,
    "$eq": _ordering(lambda a, b: a == b),
    "$gt": _ordering(lambda a, b: a > b),
    "$lt": _ordering(lambda a, b: a < b),
    "$lte": _ordering(lambda a, b: a <= b),
}

# -- updates


def updated(document: Document, change: Any, now: datetime) -> Document:
    """A document as an update or a pipeline of updates leaves it."""
    if isinstance(change, list):
        for stage in change:
            ((name, operand),) = stage.items()
            document = _STAGES[name](document, operand, now)
        return document
    if not _is_operator(change):
        # It replaces the document, which keeps its `_id`.
        return {"_id": document["_id"]} | change
    changed = dict(document)
    for name, operand in change.items():
        for path, value in operand.items():
            if name == "$set" and "." not in path:
                changed[path] = value
            else:
                changed = _changed(changed, path, _CHANGES[name], value)
    return changed


def _changed(
    document: Document, path: str, change: Callable[[Any, Any], Any], operand: Any
) -> Document:
    """A document with one field, maybe of a document in it, changed."""
    first, _, rest = path.partition(".")
    before = document.get(first, MISSING)
    if rest:
        inner = _changed({} if before is MISSING else before, rest, change, operand)
        after = before if before is MISSING and not inner else inner
    else:
        after = change(before, operand)
    changed = dict(document)
    if after is MISSING:
        changed.pop(first, None)
    else:
        changed[first] = after
    return changed


def _with_each(value: Any, operand: Any) -> list[Any]:
    items: list[Any] = [] if value is MISSING else list(value)
    for each in operand["$each"]:
        if each not in items:
            items.append(each)
    return items


_CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    # Outside a pipeline a dollar has no meaning.
    "$set": lambda value, operand: operand,
    "$unset": lambda value, operand: MISSING,
    "$inc": lambda value, operand: (0 if value is MISSING else value) + operand,
    "$addToSet": _with_each,
}


def _set(document: Document, operand: Document, now: datetime) -> Document:
    changed = dict(document)
    for field, expression in operand.items():
        value = evaluate(expression, document, now)
        if "." in field:
            changed = _changed(changed, field, lambda _, value: value, value)
        elif value is MISSING:
            changed.pop(field, None)
        else:
            changed[field] = value
    return changed


def _unset(document: Document, operand: Any, now: datetime) -> Document:
    fields = [operand] if isinstance(operand, str) else operand
    return {key: value for key, value in document.items() if key not in fields}


_STAGES: dict[str, Callable[[Document, Any, datetime], Document]] = {
    "$set": _set,
    "$unset": _unset,
    "$replaceWith": lambda document, operand, now: evaluate(operand, document, now),
}
