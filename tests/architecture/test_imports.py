"""Every module imports, every model can be built, and the lazy tables say what is there."""

from __future__ import annotations

import ast

import asyncposthog
from asyncposthog import models
from asyncposthog.model import Model
from tests.helpers.subprocesses import PACKAGE, run_json

IMPORT_ALL = """
import importlib, json, pkgutil
import asyncposthog

def failed(name):
    raise ImportError(name)

names = [m.name for m in pkgutil.walk_packages(asyncposthog.__path__, "asyncposthog.", failed)]
for name in names:
    importlib.import_module(name)
print(json.dumps(["asyncposthog", *names]))
"""

BUILD_ALL = """
import json
from pydantic import BaseModel, TypeAdapter
from asyncposthog import models
from asyncposthog.model import Model

built, other = [], []
for name in models.__all__:
    value = getattr(models, name)
    if isinstance(value, type) and issubclass(value, BaseModel):
        value.model_rebuild()
        assert value.__pydantic_complete__, name
        built.append(name)
    else:
        TypeAdapter(value)
        other.append(name)
print(json.dumps([len(built), len(other)]))
"""


def test_every_module_imports_without_a_warning() -> None:
    found = set(run_json(IMPORT_ALL))
    on_disk = {
        ".".join(("asyncposthog", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in PACKAGE.rglob("*.py")
    }
    assert found == on_disk
    assert len(found) > 300


def test_every_model_is_built() -> None:
    built, other = run_json(BUILD_ALL)
    assert built > 900
    assert built + other == len(models.__all__)


def test_the_typing_twin_of_the_models_is_the_lazy_table() -> None:
    tree = ast.parse((PACKAGE / "models" / "__init__.py").read_text(encoding="utf-8"))
    twin = _imports_for_type_checkers(tree)
    table = _table(tree, "_MODULES")
    assert twin == table
    assert sorted(twin) == sorted(models.__all__)
    assert len(set(models.__all__)) == len(models.__all__)


def test_every_model_is_where_the_table_says() -> None:
    tree = ast.parse((PACKAGE / "models" / "__init__.py").read_text(encoding="utf-8"))
    for name, module in _table(tree, "_MODULES").items():
        value = getattr(models, name)
        if isinstance(value, type) and issubclass(value, Model):
            assert value.__module__ == f"asyncposthog.models.{module}"
            assert value.__name__ == name


def test_the_typing_twin_of_the_package_has_every_public_name() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    twin = set(_imports_for_type_checkers(tree)) | {"__version__"}
    assert twin == set(asyncposthog.__all__)


def _imports_for_type_checkers(tree: ast.Module) -> dict[str, str]:
    """Return the module of each name that is imported for type checkers alone."""
    blocks = [
        node
        for node in tree.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ]
    assert blocks
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: node.module or "" for node in imports for alias in node.names
    }


def _table(tree: ast.Module, name: str) -> dict[str, str]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(name)
