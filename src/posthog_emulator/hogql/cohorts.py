"""`IN COHORT`."""

from __future__ import annotations

from typing import Any

from .context import Context
from .errors import HogQLError
from .values import Printed

__all__ = ["current_cohorts", "in_cohort"]


def in_cohort(person: Printed, cohort: Any, context: Context, *, negate: bool) -> Printed:
    """Return whether a person is in a cohort.

    Args:
        person: The id of the person.
        cohort: The id or the name of the cohort.
        context: For the cohorts.
        negate: Whether to ask for the opposite.

    Raises:
        HogQLError: There is no such cohort, or its members could not be calculated.
    """
    number = _find(cohort, context)
    definition = context.cohorts[number]
    if definition.error is not None:
        raise HogQLError(definition.error)
    team = f"c.team_id = {context.team_id} AND c.cohort_id = {number}"
    if definition.static:
        rows = f"SELECT c.person_id FROM person_static_cohort AS c WHERE {team}"  # noqa: S608
    elif definition.version is not None:
        rows = (
            f"SELECT c.person_id FROM cohortpeople AS c WHERE {team} "  # noqa: S608
            f"AND c.version = {definition.version}"
        )
    else:
        rows = (
            f"SELECT c.person_id FROM cohortpeople AS c WHERE {team} "  # noqa: S608
            "GROUP BY c.person_id HAVING sum(c.sign) > 0"
        )
    return Printed(f"{'notIn' if negate else 'in'}({person.sql}, ({rows}))", "bool", False)


def _find(cohort: Any, context: Context) -> int:
    if isinstance(cohort, int) and not isinstance(cohort, bool):
        if cohort not in context.cohorts:
            raise HogQLError(f"Could not find cohort with ID {cohort}")
        return cohort
    if isinstance(cohort, str):
        numbers = [
            number for number, definition in context.cohorts.items() if definition.name == cohort
        ]
        if not numbers:
            raise HogQLError(f"Could not find a cohort with the name '{cohort}'")
        if len(numbers) > 1:
            raise HogQLError(f"Found multiple cohorts with name '{cohort}'")
        return numbers[0]
    raise HogQLError("IN COHORT only works with constant arguments")


def current_cohorts(context: Context) -> str:
    """Return the condition on the rows of cohorts as they were last calculated.

    Raises:
        HogQLError: The members of one could not be calculated.
    """
    error = next((cohort.error for cohort in context.cohorts.values() if cohort.error), None)
    if error is not None:
        raise HogQLError(error)
    dynamic = {n: cohort.version for n, cohort in context.cohorts.items() if not cohort.static}
    exact = [f"({number}, {version})" for number, version in dynamic.items() if version is not None]
    loose = [str(number) for number, version in dynamic.items() if version is None]
    tests = [f"(cohort_id, version) IN ({', '.join(exact)})"] if exact else []
    if loose:
        rows = (
            "SELECT cohort_id, person_id FROM cohortpeople "  # noqa: S608
            f"WHERE team_id = {context.team_id} AND cohort_id IN ({', '.join(loose)}) "
            "GROUP BY cohort_id, person_id HAVING sum(sign) > 0"
        )
        tests.append(f"(cohort_id, person_id) IN ({rows})")
    return f"({' OR '.join(tests)})" if tests else "0"
