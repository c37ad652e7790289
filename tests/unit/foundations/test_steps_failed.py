"""The failures of many: where they stand, also in a part of them."""

from __future__ import annotations

from worchflow.foundations.steps_failed import StepsFailed


def test_parts_know_the_places_of_what_is_in_them() -> None:
    errors = [ValueError(0), KeyError(1), ValueError(2)]
    failed = StepsFailed("2", errors, places=[3, 5, 8], title="t", execution_id="e")

    matching, rest = failed.split(ValueError)

    assert isinstance(matching, StepsFailed)
    assert isinstance(rest, StepsFailed)
    assert (matching.exceptions, matching.places) == ((errors[0], errors[2]), (3, 8))
    assert (rest.exceptions, rest.places) == ((errors[1],), (5,))
    assert (rest.title, rest.execution_id, rest.message) == ("t", "e", "2")


def test_a_group_among_them_stays_at_its_place() -> None:
    inner = ExceptionGroup("inner", [ValueError(0), KeyError(0)])
    failed = StepsFailed("2", [inner, ValueError(2)], places=[0, 2])

    matching = failed.subgroup(ValueError)

    assert isinstance(matching, StepsFailed)
    assert matching.places == (0, 2)


def test_one_error_of_several_items_stands_at_each_of_their_places() -> None:
    same = ValueError("same")
    failed = StepsFailed("4", [same, KeyError(1), same, same], places=[0, 1, 2, 5])

    matching = failed.subgroup(ValueError)

    assert isinstance(matching, StepsFailed)
    assert matching.places == (0, 2, 5)
