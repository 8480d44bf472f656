"""Values made from schemas by jsf: always the same ones, and each is checked before it is used."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from faker import Faker
from jsf import JSF
from openapi_schema_validator import OAS31Validator

from .document import Direction, closure
from .json_narrowing import Choice, narrowed

__all__ = ["problems", "sample"]

_TRIES = 16
"""jsf does not hold a pattern and a maxLength together; one of its next values will."""


def sample(
    schema: Mapping[str, Any],
    direction: Direction,
    seed: str,
    *,
    null: bool = True,
    optional: bool = True,
    tags: bool = False,
    branches: int = 2,
) -> Any:
    """Return a value of a schema.

    Args:
        schema: What it is made from; it may refer to components.
        direction: Which way it is to be sent.
        seed: The same text gives the same value; so does each call that is alike in everything.
        null: Whether there are nulls where something else will do.
        optional: Whether properties that are not required are there: all of them, or none.
        tags: Whether those are there at least that can only have one value.
        branches: How many branches of a union are considered.
    """
    choice = Choice(seed=seed, branches=branches, null=null, optional=optional, tags=tags)
    return json.loads(_made(json.dumps(schema), direction, choice))


@cache
def _made(text: str, direction: Direction, choice: Choice) -> str:
    schema, seed = json.loads(text), choice.seed
    maker = JSF(narrowed(schema, direction, choice), allow_none_optionals=0.0)
    before = random.getstate()
    found: list[str] = []
    try:
        for attempt in range(_TRIES):
            random.seed(f"{seed} {attempt}")
            Faker.seed(f"{seed} {attempt}")
            value = maker.generate()
            found = problems(value, schema, direction)
            if not found:
                return json.dumps(value)
    finally:
        random.setstate(before)
    raise AssertionError(f"jsf finds no valid value: {found[:3]}")


def problems(value: Any, schema: Mapping[str, Any], direction: Direction) -> list[str]:
    """Validate a value; return what is wrong with it."""
    whole = {**schema, "components": {"schemas": closure(schema, direction)}}
    validator = OAS31Validator(whole, format_checker=_checker())
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]


@cache
def _checker() -> Any:
    return OAS31Validator.FORMAT_CHECKER
