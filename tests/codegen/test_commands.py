"""The commands of `python -m codegen`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from codegen import pipeline
from codegen.__main__ import main
from codegen.document import dump
from codegen.drift import drift
from codegen.normalise import normalise

from .normalise_helpers import TEXT, document, ref

THING: dict[str, Any] = {"type": "object", "properties": {"name": TEXT, "more": {}}}
PATH = "/api/projects/{project_id}/things/"
NUMBER = {"in": "path", "name": "project_id", "required": True, "schema": TEXT}


def instance(*, thing: dict[str, Any] = THING, **paths: Any) -> dict[str, Any]:
    """Return the schema of an instance with one collection: OpenAPI 3.0, with prose."""
    answer = {"description": "", "content": {"application/json": {"schema": ref("Thing")}}}
    operation = {"operationId": "x", "parameters": [NUMBER], "responses": {"200": answer}}
    return {**document({"Thing": thing}, "3.0.3"), "paths": {PATH: {"get": operation}, **paths}}


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, str]]]:
    """Serve texts by path; yield the address and the texts."""
    texts: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = texts.get(self.path)
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", texts
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("written", [json.dumps, yaml.safe_dump])
def test_fetch_pins_the_normalised_schema(
    served: tuple[str, dict[str, str]], tmp_path: Path, written: Any
) -> None:
    host, texts = served
    texts["/api/schema/"] = written(instance())
    out = tmp_path / "pinned.json"

    assert main(["fetch", "--host", host, "--out", str(out)]) == 0

    assert out.read_text(encoding="utf-8") == dump(normalise(instance()).document)


def test_failed_fetch_keeps_the_pinned_document(
    served: tuple[str, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host, texts = served
    out = tmp_path / "pinned.json"
    out.write_text("kept")
    for text in (None, "<html>log in</html>", '{"openapi": "3.1.0"'):
        if text is not None:
            texts["/api/schema/"] = text
        assert main(["fetch", "--host", host, "--out", str(out)]) == 1
        assert host in capsys.readouterr().err
    assert out.read_text() == "kept"


def test_normalise_prints_warnings_and_write_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "schema.json"
    source.write_text(json.dumps(instance(thing={"type": "object", "not": {"type": "null"}})))

    assert main(["normalise", "--schema", str(source), "--out", str(tmp_path / "out.json")]) == 0
    assert "warning: /components/schemas/Thing" in capsys.readouterr().out
    assert main(["normalise", "--schema", str(source), "--out", str(tmp_path / "no" / "x")]) == 1
    assert str(tmp_path / "no" / "x") in capsys.readouterr().err


def test_drift_of_an_instance(
    served: tuple[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    host, texts = served
    pinned = tmp_path / "pinned.json"
    pinned.write_text(dump(normalise(instance()).document), encoding="utf-8")
    monkeypatch.setattr(pipeline, "PINNED_SCHEMA", pinned)

    texts["/api/schema/"] = json.dumps(instance())
    assert main(["drift", "--host", host]) == 0
    assert capsys.readouterr().out == "no drift\n"

    properties = {"name": {"type": "integer"}, "more": {}}
    texts["/api/schema/"] = json.dumps(
        instance(thing={**THING, "properties": properties}, **{"/api/new/": {"get": {}}})
    )
    assert main(["drift", "--host", host]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "+ operation GET /api/new/",
        "~ schema Thing: /properties/name/type was 'string', is 'integer'",
    ]


def test_drift_lists_removals_and_first_changes() -> None:
    ours = normalise(instance()).document
    theirs = normalise(instance(thing={"type": "object", "properties": {"name": TEXT}})).document
    theirs["paths"] = {}
    theirs["components"]["schemas"]["Other"] = {"type": "object"}

    assert drift(ours, ours) == []
    assert drift(ours, theirs) == [
        f"- operation GET {PATH}",
        "+ schema Other",
        "~ schema Thing: /properties/more is missing",
    ]
    assert "~ schema Thing: /properties/more is new" in drift(theirs, ours)


def test_report_has_a_line_for_each_resource_and_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "schema.json"
    source.write_text(json.dumps(instance()))

    assert main(["report", "--schema", str(source)]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "things 1 list" in lines or "things 1 get" in lines
    totals = dict(line.rsplit(" ", 1) for line in lines[lines.index("") + 1 :][:13])
    assert totals["operations in the schema"] == totals["callable"] == "1"
    assert totals["skipped"] == "0"
    assert totals["fields untyped"] == "1", "the one that may be anything"
    assert int(totals["methods"]) == 1 + int(totals["added by overrides"])


@pytest.mark.parametrize("command", ["generate", "report"])
def test_unused_overrides_are_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    source = tmp_path / "schema.json"
    odd = {"/api/projects/{project_id}/a b/": {"get": {"responses": {}}}}
    source.write_text(json.dumps(instance(**odd)), encoding="utf-8")
    out = ["--out", str(tmp_path / "own")] if command == "generate" else []

    main([command, "--schema", str(source), *out])

    lines = capsys.readouterr().out.splitlines()
    (count,) = (line for line in lines if "override" in line and "not apply" in line)
    assert re.fullmatch(r"\d\d+ overrides do not apply to this schema", count)
    assert any(line.startswith("skipped: GET /api/projects/{project_id}/a b/") for line in lines)


def test_generate_lists_what_it_drops_of_a_schema_and_bounds_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "schema.json"
    schema = instance()
    headers = [{"in": "header", "name": name, "schema": TEXT} for name in ("Host", "Cookie")]
    parameters = [NUMBER, *headers]
    listed = ["generate", "--schema", str(source), "--out", str(tmp_path / "own")]
    for more in ([], [{"in": "cookie", "name": f"c{n}", "schema": TEXT} for n in range(50)]):
        schema["paths"][PATH]["get"]["parameters"] = [*parameters, *more]
        source.write_text(json.dumps(schema), encoding="utf-8")
        assert main(listed) == 0
        lines = capsys.readouterr().out.splitlines()
        warnings = [line for line in lines if line.startswith("warning: ")]
        assert "sets the header Host itself; it is dropped" in warnings[0]
        assert len(warnings) == (40 if more else 2)
        assert any("12 more warnings" in line for line in lines) is bool(more)


def test_overrides_add_no_operation_of_a_missing_resource(
    tmp_path: Path,
) -> None:
    source = tmp_path / "schema.json"

    def methods(**paths: Any) -> set[str]:
        source.write_text(json.dumps(instance(**paths)), encoding="utf-8")
        return {m.operation.id for m in pipeline.build(str(source)).surface.methods}

    assert methods() == {"things.get"}
    listed = {"get": {"responses": {"200": {"description": ""}}}}
    more = methods(**{"/api/projects/{team_id}/persons/": listed, "/api/users/": listed})
    assert "persons.delete_events" in more
    assert "personal_api_keys.current" in more
    assert not [name for name in more if name.startswith("file_download_batch_exports.")]
    more = methods(**{"/api/projects/{project_id}/batch_exports/": listed})
    assert "file_download_batch_exports.count_rows" in more


def test_report_warns_about_uncallable_operations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "schema.json"
    source.write_text(json.dumps(instance(**{"/somewhere/else/": {"trace": {"responses": {}}}})))

    main(["report", "--schema", str(source)])

    assert "warning: /paths/~1somewhere~1else~1/trace" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["my-posthog", "2fa", "class", "my posthog", "a.b"])
def test_generate_refuses_folders_that_cannot_be_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    schema, out = tmp_path / "schema.json", tmp_path / name
    schema.write_text(json.dumps(instance()), encoding="utf-8")
    assert main(["generate", "--schema", str(schema), "--out", str(out)]) == 1
    stderr = capsys.readouterr().err
    assert (
        f"{out}: {name!r} is not a package name that can be imported. Give --out a folder" in stderr
    )
    assert not out.exists()


@pytest.mark.parametrize(
    "name", ["__init__.py", "models/own.py", "resources/deep/own.py", "registry/own.json"]
)
def test_generate_keeps_hand_written_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    schema, out = tmp_path / "schema.json", tmp_path / "mine"
    schema.write_text(json.dumps(instance()), encoding="utf-8")
    own_file = out / name
    own_file.parent.mkdir(parents=True)
    own_file.write_text("precious = 1\n", encoding="utf-8")
    before = sorted(out.rglob("*"))
    assert main(["generate", "--schema", str(schema), "--out", str(out)]) == 1
    stderr = capsys.readouterr().err
    assert str(own_file) in stderr
    assert "Move it, or give --out another folder." in stderr
    assert own_file.read_text(encoding="utf-8") == "precious = 1\n"
    assert sorted(out.rglob("*")) == before


def test_generate_can_be_repeated_into_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema, out = tmp_path / "schema.json", tmp_path / "mine"
    schema.write_text(json.dumps(instance()), encoding="utf-8")
    out.mkdir()
    (out / "__init__.py").touch()
    (out / "own.py").write_text("precious = 1\n", encoding="utf-8")
    for changed in ("files, ", " 0 changed, "):
        assert main(["generate", "--schema", str(schema), "--out", str(out)]) == 0
        assert changed in capsys.readouterr().out
    assert (out / "own.py").read_text(encoding="utf-8") == "precious = 1\n"
    assert main(["generate", "--schema", str(schema), "--out", str(schema)]) == 1
    assert "Give --out a folder." in capsys.readouterr().err


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that generates a package from paths; its arguments are passed on."""
    # Formatting does not affect these checks, and takes most of the time.
    monkeypatch.setattr(pipeline, "format_files", dict[str, str])

    def run(paths: Mapping[str, Any], *arguments: str, code: int = 0) -> Path:
        schema, out = tmp_path / "schema.json", tmp_path / "own"
        schema.write_text(json.dumps({**instance(), "paths": paths}), encoding="utf-8")
        assert main(["generate", "--schema", str(schema), "--out", str(out), *arguments]) == code
        return out

    return run


def reads(*segments: str) -> dict[str, Any]:
    """Return paths that can be read, below the first collection of the instance."""
    answers = {"200": {"description": "", "content": {"application/json": {"schema": TEXT}}}}
    return {f"{PATH}{segment}": {"get": {"responses": answers}} for segment in segments}


def names_in(package: Path) -> dict[str, str]:
    methods = yaml.safe_load((package / "names.yaml").read_text(encoding="utf-8"))["methods"]
    return {key.removeprefix(f"GET {PATH}"): name for key, name in methods.items()}


def test_names_of_a_package_do_not_change_when_the_instance_gets_more_operations(
    package: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first = names_in(package(reads("{id}/runs/")))
    assert first == {"{id}/runs/": "things.runs"}
    # Without names.yaml, the method would be `list` of the nested resource `things.runs`.
    paths = reads("{id}/runs/", "{id}/runs/{run_id}/")
    assert names_in(package(paths)) == {**first, "{id}/runs/{run_id}/": "things.runs_.get"}
    assert "'things.runs' is a method already" in capsys.readouterr().out
    # The name of an operation that is gone is kept for it.
    assert names_in(package(reads("{id}/runs/{run_id}/")))["{id}/runs/"] == "things.runs"
    assert "gone from the schema: method things.runs" in capsys.readouterr().out
    (package(paths) / "names.yaml").unlink()
    assert names_in(package(paths)) == {
        "{id}/runs/": "things.runs.list", "{id}/runs/{run_id}/": "things.runs.get",
    }  # fmt: skip


def test_methods_and_models_are_renamed_in_a_file_of_names(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    names = tmp_path / "mine.yaml"
    names.write_text(
        f"methods: {{'GET {PATH}': stuff.all}}\nmodels: {{Thing: Item}}\n", encoding="utf-8"
    )
    out = package({PATH: instance()["paths"][PATH]}, "--names", str(names))
    assert "def all" in (out / "resources" / "stuff.py").read_text(encoding="utf-8")
    assert "class Item" in (out / "models" / "stuff.py").read_text(encoding="utf-8")
    assert f"GET {PATH}: stuff.all" in names.read_text(encoding="utf-8")
    assert not (out / "names.yaml").exists()


def test_overrides_of_a_user_win_over_every_other_name(
    package: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names_in(package(reads("{id}/runs/"))) == {"{id}/runs/": "things.runs"}
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        f"operations: [{{operation: 'GET {PATH}{{uuid}}/runs/', name: things.history}}]\n"
        "document: [{verb: remove, pointer: /components/schemas/Gone}]\n"
        "scopes: [{match: ['GET */nothing/'], scopes: ['thing:read']}]\n",
        encoding="utf-8",
    )
    package(reads("{id}/runs/"), "--overrides", str(mine))
    assert names_in(tmp_path / "own") == {"{id}/runs/": "things.history"}
    out = capsys.readouterr().out
    assert "/components/schemas/Gone: override remove does not apply: nothing at 'Gone'" in out
    assert "GET */nothing/: override does not apply: there is no such operation" in out


@pytest.mark.parametrize(
    ("option", "text", "error"),
    [
        ("--overrides", None, "it cannot be read"),
        ("--overrides", "a: [", "it is not YAML"),
        ("--overrides", "[1]", "it is not an object"),
        ("--overrides", "operations: {}", None),
        ("--overrides", "operations: 5", "#/operations: it is not a list of entries"),
        ("--overrides", "operations: [5]", "#/operations/0: it is not an object"),
        ("--overrides", "operations: [{name: a.b}]", "it has no text 'operation'"),
        ("--overrides", "operations: [{operation: FETCH x}]", "is not one such as GET"),
        ("--overrides", "operations: [{operation: GET /a, name: x}]", "such as cohorts.list"),
        ("--overrides", "operations: [{operation: GET /a, name: a.class}]", "such as cohorts.list"),
        ("--overrides", "document: [{verb: add, pointer: /a}]", "'add' needs ['value']"),
        ("--overrides", "document: [{verb: remove, pointer: a}]", "is not a JSON pointer"),
        ("--overrides", "document: [{verb: remove, pointer: /a, x: 1}]", "unknown keys ['x']"),
        ("--overrides", "buckets: [{match: x, buckets: []}]", "match is a list of texts"),
        ("--overrides", "scopes: [{match: [x]}]", "scopes is a list of texts"),
        (
            "--overrides",
            "document: [{verb: replace, pointer: /components/schemas/Thing, value: 5}]",
            "an object is expected",
        ),
        (
            "--overrides",
            "document: [{verb: remove, pointer: /components/schemas/Thing}]",
            "which is not in the document",
        ),
        ("--names", "[1]", "it is not an object with `methods` and `models`"),
        ("--names", "methods: [a]", "#/methods: it is not an object of texts"),
        ("--names", "methods: {GET /a/: a}", "is not a name such as cohorts.list"),
        ("--names", "methods: {GET /a/: a.b, GET /b/: a.b}", "is the name of GET /a/ too"),
        ("--names", "methods: {GET /a/: a.b, GET /b/: a.b.c}", "is below 'a.b'"),
        ("--names", "methods: {GET /a/: request.b}", "the client has an attribute 'request'"),
        ("--names", "models: {A: B, C: B}", "is the name of A too"),
        ("--names", "models: {A: class}", "is not a class name"),
    ],
)
def test_files_of_users_are_checked_before_anything_is_written(
    package: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    text: str | None,
    error: str | None,
) -> None:
    mine = tmp_path / "mine.yaml"
    if text is not None:
        mine.write_text(text, encoding="utf-8")
    paths = {PATH: instance()["paths"][PATH]}
    out = package(paths, option, str(mine), code=0 if error is None else 1)
    stderr = capsys.readouterr().err
    assert out.exists() is (error is None)
    assert (error or "") in stderr
    assert "openapi/overrides.yaml" not in stderr


def test_errors_in_a_document_name_what_its_user_can_do(
    package: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"type": "object", "properties": {"a-b": TEXT, "a_b": TEXT}, "allOf": [{"type": 5}]}
    body = {"content": {"application/json": {"schema": broken}}}
    paths = {PATH: {"post": {"requestBody": body, "responses": {"200": {"description": ""}}}}}
    out = package(paths, code=1)
    stderr = capsys.readouterr().err
    assert "#/paths/~1api~1projects~1{project_id}~1things~1/post/requestBody" in stderr
    assert not out.exists()


def test_a_package_is_not_half_written(
    package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = package(reads("{id}/runs/"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    written: list[Path] = []
    write_text = Path.write_text

    def fail_late(self: Path, data: str, **options: Any) -> int:
        written.append(self)
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        return write_text(self, data, **options)

    monkeypatch.setattr(Path, "write_text", fail_late)
    package(reads("{id}/runs/", "{id}/logs/", "a/b/", "c/d/"), code=1)
    assert len(written) == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".own")] == []


def test_overrides_and_names_need_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--names", "x.yaml"]) == 1
    assert "Give --out a folder" in capsys.readouterr().err
