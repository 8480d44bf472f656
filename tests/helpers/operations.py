"""The operations of the registry, by family: the first part of their names."""

from __future__ import annotations

from itertools import groupby

import pytest

from asyncposthog import registry
from asyncposthog.operation import Operation

__all__ = ["FAMILIES", "OPERATIONS", "Operations", "each_family"]

Operations = tuple[Operation, ...]

OPERATIONS: Operations = tuple(registry.operations())


def _family(operation: Operation) -> str:
    return operation.id.partition(".")[0]


FAMILIES: dict[str, Operations] = {
    family: tuple(group) for family, group in groupby(sorted(OPERATIONS, key=_family), key=_family)
}

each_family = pytest.mark.parametrize("operations", FAMILIES.values(), ids=FAMILIES)
"""Run a test once for each family, with all its operations.

One test for all operations would occupy one worker long after the others are done.
"""
