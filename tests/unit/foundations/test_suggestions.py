"""The nearest known word is suggested, and nothing where none is near."""

from __future__ import annotations

import pytest

from worchflow.foundations.errors import ConfigurationError
from worchflow.foundations.suggestions import did_you_mean, refuse_unknown, unknown_word


def test_the_nearest_word_is_suggested_and_no_distant_one() -> None:
    assert did_you_mean("timout", ["retries", "timeout"]) == ', did you mean "timeout"?'
    assert did_you_mean("colour", ["retries", "timeout"]) == ""
    assert did_you_mean("timeout", []) == ""


def test_what_there_is_stands_in_order_of_the_alphabet() -> None:
    said = unknown_word("colour", ["b", "a"], "a step", "option")
    assert said == 'a step has no option "colour"; it takes: a, b'
    assert unknown_word("x", [], "it", "field") == 'it has no field "x"; it takes: none'


def test_the_first_unknown_option_is_refused() -> None:
    refuse_unknown(["a", "b"], {"b", "a"}, "a step")
    with pytest.raises(ConfigurationError, match='a step has no option "keys", did yo'):
        refuse_unknown(["key", "keys", "x"], {"key"}, "a step")
