"""Run a small document through every stage: generate, compile, import, call each method."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx

from asyncposthog.errors import SchemaDrift
from asyncposthog.operation import Operation
from codegen import pipeline

P = "/api/projects/{project_id}"
TEXT = {"type": "string"}
_serial = itertools.count()


def ref(name: str, **siblings: Any) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", **siblings}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def content(schema: Any, media: str = "application/json") -> dict[str, Any]:
    return {"content": {media: {"schema": schema}}}


def get(schema: Any = None, **more: Any) -> dict[str, Any]:
    """Return a path item with GET."""
    answer = {"description": ""} | ({} if schema is None else content(schema))
    return {"get": {"responses": {"200": answer}, **more}}


def post(schema: Any, answer: Any = None) -> dict[str, Any]:
    """Return a path item with POST; the response has the schema of the body by default."""
    response_content = content(schema if answer is None else answer)
    body = {"requestBody": {"required": True, **content(schema)}}
    return {"post": {**body, "responses": {"201": {"description": "", **response_content}}}}


def query(name: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"in": "query", "name": name, "schema": TEXT if schema is None else schema, **more}


def document(paths: Mapping[str, Any], version: Any = "3.1.0", **schemas: Any) -> dict[str, Any]:
    return {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


class Package:
    """A generated and imported package."""

    def __init__(self, generated: pipeline.GeneratedPackage, folder: Path) -> None:
        self.generated = generated
        self.name = f"hostile_{next(_serial)}"
        root = folder / self.name
        for path, text in generated.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
            if path.endswith(".py"):
                compile(text, path, "exec")
        sys.path.insert(0, str(folder))
        try:
            importlib.invalidate_caches()
            self.module = importlib.import_module(self.name)
            for path in generated.files:
                if path.endswith(".py"):
                    dotted = path.removesuffix(".py").replace("/", ".").removesuffix("__init__")
                    importlib.import_module(f"{self.name}.{dotted}".rstrip("."))
            registry = importlib.import_module(f"{self.name}.registry")
            self.operations: dict[str, Operation] = {o.id: o for o in registry.operations()}
            registry.schemas()
        finally:
            sys.path.remove(str(folder))
        models = importlib.import_module(f"{self.name}.models")
        self.models = {name: getattr(models, name) for name in models.__all__}

    @property
    def diagnostics(self) -> str:
        """Skipped operations and diagnostics, one on each line."""
        lines = [
            f"{skipped.operation}: {skipped.reason}" for skipped in self.generated.surface.skipped
        ]
        lines += [
            f"{diagnostic.pointer}: {diagnostic.reason}"
            for diagnostic in self.generated.diagnostics
        ]
        return "\n".join(lines)

    def call(self, id: str, *path: Any, **keywords: Any) -> httpx.Request:
        """Call a method and return the request it sent."""
        seen: list[httpx.Request] = []
        operation = self.operations[id]

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            result = operation.result
            if result.kind in {"text", "bytes"}:
                return httpx.Response(200, text="x")
            value: Any = [] if result.array else {"results": [], "next": None, "count": 0}
            return httpx.Response(200, json=value)

        async def main() -> None:
            transport = httpx.MockTransport(answer)
            async with self.module.AsyncPostHog(
                "phx_x", project_id=3, transport=transport
            ) as client:
                target: Any = client
                for name in id.split("."):
                    target = getattr(target, name)
                await target(*path, **keywords)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SchemaDrift)
            anyio.run(main)
        (request,) = seen
        return request

    def call_all(self) -> None:
        """Call every method with its required arguments."""
        for key, operation in self.operations.items():
            target: Any = self._class_of(key)
            signature = inspect.signature(getattr(target, operation.name))
            keywords = {
                name: _VALUE
                for name, parameter in signature.parameters.items()
                if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
            }
            path = [7] * len(operation.path_parameters)
            request = self.call(key, *path, **keywords)
            assert request.method == operation.method
            fixed = operation.path.split("{")[0]
            assert request.url.raw_path.decode().startswith(fixed)

    def _class_of(self, id: str) -> Any:
        family, *rest = id.split(".")[:-1]
        resources = self.generated.surface.resources
        resource = next(r for r in resources if r.family == family)
        for name in rest:
            resource = next(child for child in resource.children if child.path[-1] == name)
        module = importlib.import_module(f"{self.name}.resources.{family}")
        return getattr(module, resource.class_name)


_VALUE = "1"


def run(source: Path, schema: Mapping[str, Any] | str) -> Package:
    """Generate a package from a document or a text, in the folder of `source`."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    source.write_text(text, encoding="utf-8")
    return Package(pipeline.build(str(source), standalone=True), source.parent)
