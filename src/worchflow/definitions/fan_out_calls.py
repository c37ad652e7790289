"""The calls of `step.map`, `step.invoke_many` and `step.race`, checked."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..foundations.errors import (
    ConfigurationError,
    DuplicateStep,
    InvalidInput,
    WorchflowError,
)
from ..foundations.limits import check_key, check_name, short
from .calls import InvokeManyCall, MapCall, RaceCall
from .messages import is_message, message_parts
from .step_options import check_function, check_timeout
from .tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import TypeIs

    from ..foundations.types import Duration
    from .step_options import StepSettings

MAX_ITEMS = 10_000
"""Items of one `step.map`, and messages of one `step.invoke_many`."""
MAX_ARMS = 100
MAP_CONCURRENCY = 10
"""Items of a `step.map` that run at once, unless it says otherwise."""


def map_call(
    settings: StepSettings,
    title: str,
    function: Callable[..., Any],
    items: Any,
    key: Callable[[Any], object] | None,
    concurrency: int | None,
    return_exceptions: bool,  # noqa: FBT001
) -> MapCall:
    """A step for each item, checked."""
    check_function(title, function, "map")
    check_name(title, "title")
    several = _several(items, "items", "map")
    return MapCall(
        title,
        function,
        _keys(title, several, key),
        _concurrency(concurrency, MAP_CONCURRENCY),
        _flag(return_exceptions),
        several,
        settings.key,
        settings.retries,
        settings.timeout,
    )


def invoke_many_call(
    settings: StepSettings,
    title: str,
    messages: Any,
    key: Callable[[Any], object] | None,
    concurrency: int | None,
    timeout: Duration | None,
    return_exceptions: bool,  # noqa: FBT001
) -> InvokeManyCall:
    """A child for each message, checked."""
    settings.refuse_for("invoke_many")
    check_name(title, "title")
    if is_message(messages):
        raise InvalidInput(
            "step.invoke_many takes several messages: for one there is step.invoke",
            field="messages",
        )
    several = _several(messages, "messages", "invoke_many")
    parts = [message_parts(each) for each in several]
    return InvokeManyCall(
        title,
        _keys(title, [each.data for each in parts], key),
        _concurrency(concurrency, MAX_ITEMS),
        _flag(return_exceptions),
        None if timeout is None else check_timeout(timeout),
        several,
        tuple(each.result_type for each in parts),
        settings.key,
    )


def race_call(
    settings: StepSettings,
    title: str,
    by_place: Sequence[object],
    by_name: Mapping[str, object],
) -> RaceCall:
    """Operations of which the first counts, checked as far as they can be here."""
    given = (*by_place, *by_name.values())
    try:
        _check_race(settings, title, len(by_place), len(by_name))
        names = None if by_place else tuple(check_name(n, "arms") for n in by_name)
    except WorchflowError:
        for each in given:
            if inspect.iscoroutine(each):
                each.close()  # Nobody runs it, and Python need not warn of that.
        raise
    arms = tuple(each.result() if _is_token(each) else each for each in given)
    return RaceCall(title, names, arms, settings.key)


def _check_race(settings: StepSettings, title: str, places: int, names: int) -> None:
    settings.refuse_for("race")
    check_name(title, "title")
    if places and names:
        raise InvalidInput(
            f'race "{title}": give either all arms a name, or none', field="arms"
        )
    if not 1 <= places + names <= MAX_ARMS:
        raise InvalidInput(
            f'race "{title}" has {places + names} arms, and takes 1 to {MAX_ARMS}: '
            'step.race("First answer", yes=step.wait_for_event(…), '
            'late=step.sleep("Too late", "1d"))',
            field="arms",
        )


def _is_iterable(value: object) -> TypeIs[Iterable[Any]]:
    return isinstance(value, Iterable)


def _is_token(value: object) -> TypeIs[Token[Any]]:
    return isinstance(value, Token)


def _several(given: Any, field: str, method: str) -> tuple[Any, ...]:
    if not _is_iterable(given):
        raise InvalidInput(
            f"{field} must be several, such as a list: they are of type "
            f"{type(given).__name__}",
            field=field,
        )
    several = tuple(islice(given, MAX_ITEMS + 1))
    if len(several) > MAX_ITEMS:
        raise InvalidInput(
            f"step.{method} takes up to {MAX_ITEMS:,} {field} at once: give them in "
            "several steps, or have children that do the same with a part each",
            field=field,
        )
    return several


def _keys(
    title: str, items: Sequence[Any], key: Callable[[Any], object] | None
) -> tuple[str, ...] | None:
    if key is None:
        return None
    if not callable(key):
        raise InvalidInput(
            f"key={short(key)} must be a function of an item, such as "
            "key=lambda item: item.id. A key of the whole step is an option, "
            "step.options(key=…)",
            field="key",
        )
    keys = tuple(check_key(key(each), "key") for each in items)
    (most, uses), *_ = Counter(keys).most_common(1) or [("", 1)]
    if uses > 1:
        raise DuplicateStep(
            f'{uses} items of step "{title}" have the key {short(most)}: which is '
            "which would depend on their order. Give each a key of its own, or leave "
            "out key=, and their places tell them apart",
            title=title,
        )
    return keys


def _concurrency(value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(
            f"concurrency={short(value)} must be a whole number from 1 up"
        )
    return min(value, MAX_ITEMS)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(
            f"return_exceptions={short(value)} must be True or False"
        )
    return value
