"""The parsed description of an API, shared by all emulators of it."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from asyncposthog.operation import Operation
from posthog_emulator.objects.object_schema import ObjectSchemas
from posthog_emulator.objects.routing import OperationPlans, Router
from posthog_emulator.schema.catalogue import Catalogue
from posthog_emulator.schema.sampling import SampleGenerator
from posthog_emulator.schema.validation import Validators

__all__ = ["ApiSchema", "load_registry_schema"]


class ApiSchema:
    """Operations and schemas, and everything derived from them alone.

    It holds no state of an emulator. Derived values are computed on first use and cached; that is
    safe from any thread.

    Args:
        operations: The operations.
        schemas: The component schemas, by name.
    """

    def __init__(self, operations: Iterable[Operation], schemas: Mapping[str, Any]) -> None:
        self.operations = tuple(operations)
        self.catalogue = Catalogue(schemas)
        self.validators = Validators(self.catalogue)
        self.plans = OperationPlans(self.operations, self.catalogue)
        self.router = Router(self.plans)
        checker = self.validators.checker
        # Only responses are generated: requests come from clients.
        self.plain_samples = SampleGenerator(self.catalogue, "response", "plain", checker)
        self.rich_samples = SampleGenerator(self.catalogue, "response", "rich", checker)
        self.object_schemas = ObjectSchemas(
            self.plans, self.catalogue, self.plain_samples, self.validators
        )


@cache
def load_registry_schema() -> ApiSchema:
    """Return the schema of the generated registry. It is built once per process."""
    registry = importlib.import_module("asyncposthog.registry")
    with _gc_paused():
        return ApiSchema(registry.operations(), registry.schemas())


@contextmanager
def _gc_paused() -> Generator[None]:
    """Disable the cyclic garbage collector while the block runs.

    Building the schema allocates many objects that all stay alive, so collections in between
    would cost time and free nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
