"""The generator, from its command line: what is stale is found, and any schema makes a package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from codegen.pipeline import GENERATED_FOLDERS

from .subprocesses import PACKAGE, ROOT, python

SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of what `python -m codegen check` looks at."""
    for folder in ("codegen", "openapi", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=SKIPPED)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "reference.md", tmp_path / "docs")
    return tmp_path


def check(root: Path, seed: str) -> tuple[int, str]:
    """Run the check on a copy; sets and dicts of strings are ordered by the seed."""
    path = f"{root / 'src'}:{root}"
    environment = {"PYTHONPATH": path, "PYTHONHASHSEED": seed}
    done = python("-m", "codegen", "check", cwd=root, environment=environment)
    return done.returncode, done.stdout + done.stderr


def test_check_finds_edited_files_and_removed_names_only(copy: Path) -> None:
    # That it passes on what was generated is what `make check` asks of it.
    edited = copy / "src" / "asyncposthog" / "resources" / "cohorts.py"
    edited.write_text(edited.read_text().replace("self._cursor(", "self ._cursor(", 1))
    names = copy / "openapi" / "names.yaml"
    settled = yaml.safe_load(names.read_text())
    settled["methods"]["GET /api/projects/{project_id}/cohorts/gone/"] = "cohorts.gone"
    names.write_text(yaml.safe_dump(settled))
    code, output = check(copy, "2")
    assert code == 1
    lines = output.splitlines()
    assert [line for line in lines if "(on disk)" in line] == ["--- resources/cohorts.py (on disk)"]
    assert any(line.startswith("-") and "self ._cursor(" in line for line in lines)
    removed = [line for line in lines if "would be removed" in line]
    assert len(removed) == 1
    assert "cohorts.gone" in removed[0]
    assert "docs/reference.md" not in output


CALL = """
import json
import anyio, httpx
from {package} import AsyncPostHog

async def main():
    seen = []
    def answer(request):
        seen.append(f"{{request.method}} {{request.url.raw_path.decode()}}")
        return httpx.Response(200, json={answer})
    transport = httpx.MockTransport(answer)
    async with AsyncPostHog("phx_x", project_id=3, transport=transport) as client:
        value = await client.{call}
    print(json.dumps([seen, type(value).__module__, value.raw()]))

anyio.run(main)
"""


def generate(schema: Path, out: Path) -> str:
    """Generate a package from a schema."""
    done = python(
        "-m",
        "codegen",
        "generate",
        "--schema",
        str(schema),
        "--out",
        str(out),
        environment={"PYTHONHASHSEED": "3"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def perform(folder: Path, package: str, call: str, answer: Any) -> list[Any]:
    """Import a generated package and make a call with it."""
    script = CALL.format(package=package, call=call, answer=repr(answer))
    paths = f"{folder}:{PACKAGE.parent}"
    done = python("-c", script, environment={"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_pinned_schema_makes_a_package_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    generate(ROOT / "openapi" / "posthog.json", out)
    flag = {"id": 7, "key": "a", "active": True}
    seen, module, raw = perform(tmp_path, "elsewhere", "feature_flags.get(7)", flag)
    assert seen == ["GET /api/projects/3/feature_flags/7/"]
    assert module.startswith("elsewhere.models.")
    assert raw == flag
    ours = {p.relative_to(PACKAGE) for f in GENERATED_FOLDERS for p in (PACKAGE / f).rglob("*.py")}
    theirs = {p.relative_to(out) for f in GENERATED_FOLDERS for p in (out / f).rglob("*.py")}
    assert ours == theirs
    different = [
        path
        for path in ours
        if path.parts[0] == "models" and (PACKAGE / path).read_bytes() != (out / path).read_bytes()
    ]
    assert different == [], "the same schema, another run: the same models"


SMALL: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "A small instance", "version": "1.0"},
    "paths": {
        "/api/projects/{project_id}/widgets/": {
            "post": {
                "operationId": "widgets_create",
                "description": "Make a widget.\n\nIt is blue.",
                "parameters": [
                    {
                        "in": "path",
                        "name": "project_id",
                        "required": True,
                        "schema": {"type": "string"},
                        "description": "The project.",
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        media: {"schema": {"$ref": "#/components/schemas/Widget"}}
                        for media in (
                            "application/json",
                            "application/x-www-form-urlencoded",
                            "multipart/form-data",
                        )
                    },
                },
                "security": [{"PersonalAPIKeyAuth": ["widget:write"]}],
                "tags": ["widgets", "widgets"],
                "responses": {
                    "201": {
                        "description": "",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Widget"}}
                        },
                    }
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Widget": {
                "type": "object",
                "description": "Something blue.",
                "properties": {
                    "id": {"type": "integer", "readOnly": True},
                    "name": {"type": "string", "nullable": True, "description": "Shown."},
                    "kind": {
                        "nullable": True,
                        "oneOf": [
                            {"$ref": "#/components/schemas/KindEnum"},
                            {"$ref": "#/components/schemas/BlankEnum"},
                            {"$ref": "#/components/schemas/NullEnum"},
                        ],
                    },
                },
                "required": ["id", "name"],
            },
            "KindEnum": {"type": "string", "enum": ["round", "2 sided"]},
            "BlankEnum": {"enum": [""]},
            "NullEnum": {"enum": [None]},
        },
        "securitySchemes": {"PersonalAPIKeyAuth": {"type": "http", "scheme": "bearer"}},
    },
}


def test_a_schema_of_3_0_3_in_yaml_with_prose_makes_a_package(tmp_path: Path) -> None:
    schema = tmp_path / "schema.yaml"
    schema.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    out = tmp_path / "small"
    generate(schema, out)
    made = {"id": 1, "name": None, "kind": "2 sided"}
    call = "widgets.create(name=None, kind='round')"
    seen, module, raw = perform(tmp_path, "small", call, made)
    assert seen == ["POST /api/projects/3/widgets/"]
    assert module.startswith("small.models")
    assert raw == made
    source = (out / "resources" / "widgets.py").read_text(encoding="utf-8")
    assert "Make a widget." in source
    assert "`widget:write`" in source


def test_the_same_schema_as_json_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    (tmp_path / "schema.json").write_text(json.dumps(SMALL), encoding="utf-8")
    generate(tmp_path / "schema.yaml", tmp_path / "one")
    generate(tmp_path / "schema.json", tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<html>log in</html>", "schema.json"),
        ('{"openapi": "2.0", "paths": {}}', "2.0"),
        ('{"openapi": "3.1.0", "info": {}', "schema.json"),
        ("[]", "schema.json"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_reason(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "schema.json").write_text(content, encoding="utf-8")
    out = tmp_path / "out"
    done = python(
        *("-m", "codegen", "generate"),
        *("--schema", str(tmp_path / "schema.json"), "--out", str(out)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert words in done.stderr
    assert not out.exists()
