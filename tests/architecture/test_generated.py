"""The generator, from its command line: what is stale is found, and any schema makes a package."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from codegen.pipeline import GENERATED_FOLDERS
from tests.helpers.soft_assertions import SoftAssertions
from tests.helpers.subprocesses import PACKAGE, ROOT, python

SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc")


RUN = """
import contextlib, copy, gc, io, json, sys
from codegen import models
from codegen.__main__ import main

gc.disable()  # as the command does

annotate, results = models.annotate, {}

def annotate_once(document):
    key = json.dumps(document)
    if key not in results:
        results[key] = annotate(document)
    return copy.deepcopy(results[key])

models.annotate = annotate_once
done = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    done.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""


@dataclass(frozen=True)
class Completed:
    """What a command of the generator did."""

    code: int
    out: str
    err: str


def codegen(*commands: Sequence[str], root: Path = ROOT, seed: str = "3") -> list[Completed]:
    """Run commands of the generator, all in one new interpreter.

    Importing the third party's generator takes longer than most commands, and typing the schemas
    of the whole API takes most of the longest: what it made of a document is used again.

    Args:
        commands: The arguments of each.
        root: The repository, or a copy of it.
        seed: What sets and dicts of strings are ordered by.
    """
    path = os.pathsep.join([str(root / "src"), str(root)])
    environment = {"PYTHONPATH": path, "PYTHONHASHSEED": seed}
    done = python("-c", RUN, json.dumps(commands), cwd=root, environment=environment)
    assert done.returncode == 0, done.stderr
    return [Completed(*each) for each in json.loads(done.stdout)]


def generate(schema: Path, out: Path) -> Sequence[str]:
    """Return the command that generates a package from a schema."""
    return ["generate", "--schema", str(schema), "--out", str(out)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of what `python -m codegen check` looks at."""
    root = tmp_path / "copy"
    for folder in ("codegen", "openapi", "src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=SKIPPED)
    (root / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "reference.md", root / "docs")
    shutil.copytree(ROOT / "docs" / "reference", root / "docs" / "reference")
    return root


def test_the_pinned_schema_is_checked_and_makes_a_package_of_its_own(
    copy: Path, tmp_path: Path
) -> None:
    # That the check passes on what was generated is what `make check` asks of it.
    edited = copy / "src" / "asyncposthog" / "resources" / "cohorts.py"
    edited.write_text(edited.read_text().replace("self._cursor(", "self ._cursor(", 1))
    names = copy / "openapi" / "names.yaml"
    settled = yaml.safe_load(names.read_text())
    settled["methods"]["GET /api/projects/{project_id}/cohorts/gone/"] = "cohorts.gone"
    names.write_text(yaml.safe_dump(settled))
    out = tmp_path / "elsewhere"
    commands = ["check"], generate(copy / "openapi" / "posthog.json", out)
    checked, generated = codegen(*commands, root=copy, seed="2")
    check_output(checked)
    assert generated.code == 0, generated.err
    check_generated_package(out)


def check_output(checked: Completed) -> None:
    """Look for the changed byte and the name that would vanish, and for nothing else."""
    assert checked.code == 1
    lines = (checked.out + checked.err).splitlines()
    assert [line for line in lines if "(on disk)" in line] == ["--- resources/cohorts.py (on disk)"]
    assert any(line.startswith("-") and "self ._cursor(" in line for line in lines)
    removed = [line for line in lines if "would be removed" in line]
    assert len(removed) == 1
    assert "cohorts.gone" in removed[0]
    assert not any("docs/reference" in line or "docs.yaml" in line for line in lines)


def check_generated_package(out: Path) -> None:
    """Use a package that was made from the pinned schema, and compare its models with ours."""
    flag = {"id": 7, "key": "a", "active": True}
    seen, module, raw = perform(out.parent, "elsewhere", "feature_flags.get(7)", flag)
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


def perform(folder: Path, package: str, call: str, answer: Any) -> list[Any]:
    """Import a generated package and make a call with it."""
    script = CALL.format(package=package, call=call, answer=repr(answer))
    paths = f"{folder}:{PACKAGE.parent}"
    done = python("-c", script, environment={"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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


def test_a_small_schema_makes_a_package_and_its_json_the_same_bytes(tmp_path: Path) -> None:
    in_yaml, in_json = tmp_path / "schema.yaml", tmp_path / "schema.json"
    in_yaml.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    in_json.write_text(json.dumps(SMALL), encoding="utf-8")
    out, again = tmp_path / "small", tmp_path / "again"
    for done in codegen(generate(in_yaml, out), generate(in_json, again)):
        assert done.code == 0, done.err
    assert contents(out) == contents(again)
    response = {"id": 1, "name": None, "kind": "2 sided"}
    call = "widgets.create(name=None, kind='round')"
    seen, module, raw = perform(tmp_path, "small", call, response)
    assert seen == ["POST /api/projects/3/widgets/"]
    assert module.startswith("small.models")
    assert raw == response
    source = (out / "resources" / "widgets.py").read_text(encoding="utf-8")
    assert "Make a widget." in source
    assert "`widget:write`" in source


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


REFUSED = {
    "<html>log in</html>": "schema.json",
    '{"openapi": "2.0", "paths": {}}': "2.0",
    '{"openapi": "3.1.0", "info": {}': "schema.json",
    "[]": "schema.json",
}
"""Contents of `schema.json` that are no schema, and a part of the reason that is given."""


def test_what_is_no_schema_is_refused_with_the_reason(tmp_path: Path) -> None:
    commands: list[Sequence[str]] = []
    for number, content in enumerate(REFUSED):
        schema = tmp_path / str(number) / "schema.json"
        schema.parent.mkdir()
        schema.write_text(content, encoding="utf-8")
        commands.append(generate(schema, tmp_path / f"out{number}"))
    with SoftAssertions() as soft:
        for number, done in enumerate(codegen(*commands)):
            content, words = list(REFUSED.items())[number]
            with soft.case(content):
                assert done.code == 1
                assert "Traceback" not in done.err
                assert words in done.err
                assert not (tmp_path / f"out{number}").exists()
    assert soft.cases == len(REFUSED)
