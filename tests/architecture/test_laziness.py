"""What is imported when: nothing that is not needed yet."""

from __future__ import annotations

import ast
from pathlib import Path

from asyncposthog import registry
from tests.helpers.subprocesses import PACKAGE, run_json

FAMILIES = frozenset(registry.FAMILIES)

LOADED = """
import json, sys
print(json.dumps(sorted(sys.modules)))
"""

CLIENT = """
import httpx
def refuse(*a, **k): raise AssertionError("an httpx client was built")
httpx.AsyncClient.__init__ = refuse
from asyncposthog import AsyncPostHog
ph = AsyncPostHog("phx_x", project_id=1)
ph.feature_flags.list
"""

DECODE = """
import anyio, httpx, json, sys
from asyncposthog import AsyncPostHog

async def main():
    answer = lambda request: httpx.Response(200, json={"id": 1, "key": "a"})
    ph = AsyncPostHog("phx_x", project_id=1, transport=httpx.MockTransport(answer))
    async with ph:
        flag = await ph.feature_flags.get(1)
    return type(flag).__module__

home = anyio.run(main)
print(json.dumps([home, sorted(sys.modules)]))
"""


FLAGS = """
import anyio, httpx, json, sys
from asyncposthog import AsyncPostHog

async def main():
    answer = lambda request: httpx.Response(200, json={"flags": {}})
    ph = AsyncPostHog(project_api_key="phc_x", transport=httpx.MockTransport(answer))
    async with ph:
        await ph.flags.evaluate("ada")

anyio.run(main)
"""


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = set(run_json("import asyncposthog" + LOADED))
    heavy = {"anyio", "asyncio", "httpx", "pydantic", "pydantic_core", "ssl", "tenacity"}
    assert not loaded & heavy
    assert {name for name in loaded if name.startswith("asyncposthog")} == {
        "asyncposthog",
        "asyncposthog._version",
    }


RECIPES = """
from asyncposthog import recipes
"""


def test_importing_recipes_loads_no_library_for_charts_or_tables() -> None:
    loaded = set(run_json(RECIPES + LOADED))
    heavy = {"altair", "pandas", "plotext", "polars", "pyarrow", "rich", "vl_convert"}
    assert "asyncposthog.recipes.activity" in loaded
    assert not loaded & heavy


def test_building_a_client_loads_no_model_and_opens_nothing() -> None:
    loaded = run_json(CLIENT + LOADED)
    assert "httpx" in loaded
    assert "asyncposthog.client" in loaded
    # Needed once there is something to read, and a good part of the memory.
    assert not {"pydantic.main", "pydantic.fields"} & set(loaded)
    assert _below(loaded, "rate_limits") == set()
    assert [name for name in loaded if name.startswith("asyncposthog.models")] == []
    assert [name for name in loaded if name.startswith("posthog_emulator")] == []
    families = [
        name
        for name in loaded
        if name.startswith(("asyncposthog.resources.", "asyncposthog.registry."))
        and name.rpartition(".")[2] in FAMILIES
    ]
    assert families
    assert {name.rpartition(".")[2] for name in families} == {"feature_flags"}


def test_the_first_decode_loads_its_own_models_only() -> None:
    home, loaded = run_json(DECODE)
    models = {name for name in loaded if name.startswith("asyncposthog.models")}
    needed = _closure(home)
    assert home in models
    assert models == needed | {"asyncposthog.models"}
    assert not {"query", "insights", "persons", "dashboards"} & _below(loaded, "models")
    assert len(models) < len(list((PACKAGE / "models").rglob("*.py"))) / 10


def test_evaluating_flags_loads_neither_models_nor_the_official_package() -> None:
    loaded = run_json(FLAGS + LOADED)
    assert not {"posthog", "requests", "fastapi", "django", "pydantic.main"} & set(loaded)
    assert [name for name in loaded if name.startswith("asyncposthog.models")] == []
    assert _below(loaded, "rate_limits") == set()


def _below(loaded: list[str], package: str) -> set[str]:
    parts = (name.split(".") for name in loaded)
    return {part[2] for part in parts if part[:2] == ["asyncposthog", package] and len(part) > 2}


def _closure(module: str) -> set[str]:
    """Return the model modules that a module imports when it is loaded, packages included."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found or not name.startswith("asyncposthog.models."):
            continue
        found.add(name)
        pending += [name.rpartition(".")[0], *_imported(name)]
    return found


def _imported(module: str) -> list[str]:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    is_package = path.is_dir()
    path = path / "__init__.py" if is_package else path.with_suffix(".py")
    package = module if is_package else module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            target = f"{base}.{node.module}" if node.module else base
            found.append(target)
            found += [f"{target}.{a.name}" for a in node.names if _is_module(target, a.name)]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncposthog.m"):
            found.append(node.module or "")
    return found


def _is_module(package: str, name: str) -> bool:
    folder: Path = PACKAGE.joinpath(*package.split(".")[1:])
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()
