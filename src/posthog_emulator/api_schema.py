"""What an API's description says, understood: the same for every emulator of it."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from asyncposthog.operation import Operation
from posthog_emulator.objects.object_schema import ObjectSchemas
from posthog_emulator.objects.plans import Plans
from posthog_emulator.objects.router import Router
from posthog_emulator.schema.catalogue import Catalogue
from posthog_emulator.schema.sampling import SampleGenerator
from posthog_emulator.schema.validation import Validators

__all__ = ["ApiSchema", "load_registry_schema"]


class ApiSchema:
    """Operations and schemas, and all that follows from them alone.

    It holds no state, and what it finds out later is kept for whoever asks next, from any thread.

    Args:
        operations: The operations.
        schemas: The component schemas, by name.
    """

    def __init__(self, operations: Iterable[Operation], schemas: Mapping[str, Any]) -> None:
        self.operations = tuple(operations)
        self.catalogue = Catalogue(schemas)
        self.validators = Validators(self.catalogue)
        self.plans = Plans(self.operations, self.catalogue)
        self.router = Router(self.operations)
        checker = self.validators.checker
        self.plain = SampleGenerator(self.catalogue, "response", "plain", checker)
        self.rich = SampleGenerator(self.catalogue, "response", "rich", checker)
        self.shapes = ObjectSchemas(self.plans, self.catalogue, self.plain, self.validators)


@cache
def load_registry_schema() -> ApiSchema:
    """The generated registry, read and understood once a process."""
    registry = importlib.import_module("asyncposthog.registry")
    with _gc_paused():
        return ApiSchema(registry.operations(), registry.schemas())


@contextmanager
def _gc_paused() -> Generator[None]:
    """Keep the garbage collector from looking at much that is made at once and all stays."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
