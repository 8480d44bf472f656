"""Every variant of every union in an answer is read as what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from asyncposthog import DecodeError, registry
from asyncposthog.decode import decode
from asyncposthog.operation import Operation, Result
from codegen import pipeline
from codegen.names import load_names
from tests.contract.document import closure, components
from tests.contract.samples import sample
from tests.contract.test_answers import declared, differs, plain

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
    names: dict[str, str] = dict(load_names(pipeline.NAMES).models)
    return names


def variants(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a component once for each variant of each union in its properties, and its name."""
    for name, field in schema.get("properties", {}).items():
        for label, chosen in _choices(field):
            properties = {**schema["properties"], name: chosen}
            required = sorted({*schema.get("required", ()), name})
            yield f"{name}: {label}", {**schema, "properties": properties, "required": required}


def _choices(field: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "$ref" in field:
        target = components("response")[field["$ref"].rpartition("/")[2]]
        if "anyOf" in target:
            yield from _choices(target)
        return
    branches = [branch for branch in field.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        yield from _choices(branches[0])
    elif all("$ref" in branch for branch in branches):
        for branch in branches:
            inner = list(_choices(branch))
            yield from inner or [(branch["$ref"].rpartition("/")[2], branch)]
    if field.get("type") == "array":
        for label, chosen in _choices(field["items"]):
            yield f"[{label}]", {"type": "array", "items": chosen, "minItems": 1}


UNIONS = sorted(name for name, schema in answered().items() if any(True for _ in variants(schema)))


def test_there_are_unions() -> None:
    assert len(UNIONS) > 50


@pytest.mark.parametrize("component", UNIONS)
@pytest.mark.parametrize("optional", [True, False], ids=["everything", "required"])
def test_variants_are_told_apart(component: str, optional: bool) -> None:
    wrong: list[str] = []
    for label, schema in variants(answered()[component]):
        body = sample(schema, "response", f"{component} {label}", optional=optional)
        try:
            value = read(component, body)
        except DecodeError as error:
            wrong.append(f"{label}: {str(error).splitlines()[0]}")
        else:
            wrong += filter(None, [differs(body, plain(value), label)])
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
