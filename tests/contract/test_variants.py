"""Every variant of every union in an answer is read as what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from asyncposthog import DecodeError, registry
from asyncposthog.decoding import decode
from asyncposthog.operation import Operation, Result
from codegen import pipeline
from codegen.released_names import load_names
from tests.helpers.soft_assertions import SoftAssertions

from .document import choices, closure, components
from .json_narrowing import Unsatisfiable
from .samples import sample
from .test_answers import declared, differs, plain

OPERATION = Operation(id="contract.variants", method="GET", path="/api/")


@cache
def answered() -> dict[str, Any]:
    """Return every component that is part of an answer."""
    found: dict[str, Any] = {}
    for operation in registry.operations():
        if operation.result.kind == "model":
            for schema in declared(operation).values():
                found |= closure(schema, "response")
    return found


@cache
def class_names() -> dict[str, str]:
    """Return the public name of each component."""
    names: dict[str, str] = dict(load_names(pipeline.RELEASED_NAMES_FILE).models)
    return names


@dataclass(frozen=True)
class Union:
    """A property of a component that may be one of several other components."""

    component: str
    name: str
    branches: tuple[str, ...]
    listed: bool
    """Whether it is the items of an array."""

    def of(self, branch: str, *, optional: bool) -> dict[str, Any]:
        """Return the component with one branch in that place, and all that branch's properties."""
        chosen: dict[str, Any] = {"$ref": f"#/components/schemas/{branch}"}
        if optional:
            shape = components("response")[branch]
            named = [n for n, field in shape.get("properties", {}).items() if "not" not in field]
            chosen = {**shape, "required": sorted({*shape.get("required", ()), *named})}
        if self.listed:
            chosen = {"type": "array", "items": chosen, "minItems": 1}
        whole = components("response")[self.component]
        return {
            **whole,
            "properties": {**whole["properties"], self.name: chosen},
            "required": sorted({*whole.get("required", ()), self.name}),
        }


def unions() -> Iterator[Union]:
    """Yield every union in an answer, but one of the same branches only once."""
    seen: set[tuple[str, ...]] = set()
    for component, schema in sorted(answered().items()):
        for name, field in schema.get("properties", {}).items():
            listed, branches = _branches(field)
            if len(branches) > 1 and branches not in seen:
                seen.add(branches)
                yield Union(component, name, branches, listed)


def _branches(field: Mapping[str, Any]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a schema is an array, and the components that it, or an item, may be."""
    if field.get("type") == "array":
        return True, _branches(field["items"])[1]
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        target = components("response")[name]
        return _branches(target) if choices(target) else (False, (name,))
    others = [branch for branch in choices(field) if branch.get("type") != "null"]
    if len(others) == 1:
        return _branches(others[0])
    if not all("$ref" in branch for branch in others):
        return False, ()
    return False, tuple(name for branch in others for name in _branches(branch)[1])


@pytest.mark.parametrize("optional", [True, False], ids=["tagged", "bare"])
def test_variants_are_told_apart(optional: bool) -> None:
    """Read each branch with everything it may hold, and with no more than it requires.

    PostHog's query nodes do not require the `kind` that tells them apart: it has a default.
    """
    with SoftAssertions() as soft:
        # Not a test for each: finding them takes longer than some tests, and every worker collects.
        for union in unions():
            with soft.case(f"{union.component}.{union.name}"):
                check_variants(union, optional)
    assert soft.cases > 30


def check_variants(union: Union, optional: bool) -> None:
    """Read a sample of each branch of a union."""
    wrong: list[str] = []
    for branch in union.branches:
        schema = union.of(branch, optional=optional)
        try:
            seed = f"{union} {branch}"
            body = sample(schema, "response", seed, optional=False, tags=optional, branches=1)
        except Unsatisfiable:
            continue
        try:
            value = read(union.component, body)
        except DecodeError as error:
            wrong.append(f"{branch}: {str(error).splitlines()[0]}")
        else:
            wrong += filter(None, [differs(body, plain(value), branch)])
    assert not wrong, "\n".join(wrong)


def read(component: str, body: Any) -> Any:
    """Read an answer that is one component, strictly."""
    return decode(
        Result(kind="model", model=class_names()[component], schema=component),
        json.dumps(body).encode(),
        strict=True,
        operation=OPERATION,
        media="application/json",
    )
