"""Every failure inside one test is seen, and each names what it is about."""

from __future__ import annotations

import pytest

from .soft_assertions import SoftAssertions


def check_numbers(*numbers: int) -> None:
    with SoftAssertions() as soft:
        for number in numbers:
            with soft.case(f"number {number}"):
                assert number == 2


def test_all_failures_are_raised_together() -> None:
    check_numbers(2, 2)
    with pytest.raises(ExceptionGroup, match="2 of 3 checks failed") as caught:
        check_numbers(1, 2, 3)
    assert [failure.__notes__[-1] for failure in caught.value.exceptions] == [
        "The check of number 1 failed.",
        "The check of number 3 failed.",
    ]


def test_an_error_that_was_not_raised_names_its_check() -> None:
    def check() -> None:
        with SoftAssertions() as soft, soft.case("nothing"), pytest.raises(KeyError):
            pass

    with pytest.raises(ExceptionGroup) as caught:
        check()
    assert "DID NOT RAISE" in str(caught.value.exceptions[0])
    assert caught.value.exceptions[0].__notes__ == ["The check of nothing failed."]


def leave_early() -> None:
    with SoftAssertions() as soft:
        with soft.case("one"):
            raise AssertionError
        raise KeyError


def test_an_error_outside_the_checks_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError):
        leave_early()
