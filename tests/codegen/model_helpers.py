"""Run components through `build_models`; write, import and use the result."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter

from asyncposthog.modeling.lenient_schema import Lenient
from codegen.models import ModelPlan, ModelSet, build_models
from codegen.naming import class_name

REF = "#/components/schemas/"
NULL = {"type": "null"}
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}

_serial = itertools.count()


def ref(name: str, **siblings: Any) -> dict[str, Any]:
    return {"$ref": REF + name, **siblings}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def plan(schemas: Mapping[str, Any], **options: Any) -> ModelPlan:
    """Return a plan for all components, used by one family unless `users` is given."""
    options.setdefault("names", {name: class_name(name) for name in schemas})
    options.setdefault("users", dict.fromkeys(schemas, frozenset({"things"})))
    document = {"openapi": "3.1.0", "paths": {}, "components": {"schemas": schemas}}
    return ModelPlan(document=document, **options)


def build(schemas: Mapping[str, Any], **options: Any) -> ModelSet:
    return build_models(plan(schemas, **options))


class Package:
    """The generated package, imported."""

    def __init__(self, models: ModelSet, folder: Path) -> None:
        self.set = models
        self.name = f"generated_{next(_serial)}"
        root = folder / self.name
        for path, text in {"__init__.py": "", **models.files}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        sys.path.insert(0, str(folder))
        try:
            importlib.invalidate_caches()
            self.models = importlib.import_module(f"{self.name}.models")
            for module in sorted(set(models.exports.values())):
                importlib.import_module(f"{self.name}.models.{module}")
        finally:
            sys.path.remove(str(folder))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.models, name)

    def read(self, name: str, data: Any) -> Any:
        """Decode data like a response."""
        target: Any = getattr(self.models, name)
        if self.set.kinds[name] == "alias":
            target = Annotated[target, Lenient()]
        return TypeAdapter(target).validate_json(json.dumps(data))

    def field(self, model: str, name: str) -> Any:
        """Return a field of a model once the model is built."""
        cls = getattr(self.models, model)
        cls.model_rebuild()
        return cls.model_fields[name]


def package(schemas: Mapping[str, Any], folder: Path, **options: Any) -> Package:
    return Package(build(schemas, **options), folder)
