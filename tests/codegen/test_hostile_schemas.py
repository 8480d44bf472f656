"""Broken, odd or hostile schemas give a working package or a clear error.

What cannot be represented is reported, and no string of a schema becomes code.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncposthog.model import Model
from codegen import pipeline
from codegen.__main__ import main
from codegen.diagnostics import SchemaError
from codegen.overrides import Overrides
from codegen.surface import ReleasedNames

from .hostile_schemas import TEXT, P, Package, document, get, obj, post, query, ref, run

Generate = Callable[[Any], Package]
X, ITEM = f"{P}/x/", f"{P}/x/{{id}}/"
THING = obj("a", a=TEXT)
BREAKER = 'a"""\n\\ \'\'\' {x} %s # \r\t\x00\x1b\u2028\u202e """\nimport os\nos.abort()\n"""'
DEEP = 60


@pytest.fixture
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generate:
    """Return a function that generates a package without our overrides and names."""
    monkeypatch.setattr(pipeline, "load_overrides", lambda path: Overrides())  # pyright: ignore
    monkeypatch.setattr(pipeline, "load_names", lambda path: ReleasedNames({}, {}))  # pyright: ignore
    # Formatting does not affect these checks, and takes most of the time.
    monkeypatch.setattr(pipeline, "format_files", dict[str, str])
    return lambda schema: run(tmp_path / "schema.json", schema)


def document_with_component(name: str) -> dict[str, Any]:
    """Return a document that uses a component of this name wherever that is possible."""
    pointer = name.replace("~", "~0").replace("/", "~1").replace("%", "%25")
    reference = ref(pointer)
    page = obj("results", results={"type": "array", "items": reference}, next=TEXT, count={})
    return document(
        {
            X: {**get(page), **post(reference)},
            ITEM: get(reference),
            f"{ITEM}all/": get({"type": "array", "items": reference}),
        },
        **{name: obj("a", a=TEXT, inner=reference)},
    )


def with_header(name: str, location: str = "header") -> dict[str, Any]:
    parameter = {"in": location, "name": name, "required": True, "schema": TEXT}
    return document({X: get(THING, parameters=[parameter])})


def with_values(*values: Any, **more: Any) -> dict[str, Any]:
    """Return a document with an enum as a parameter, a field, a component and a response."""
    enum = {"enum": list(values), **more}
    return document(
        {
            X: {
                **get(THING, parameters=[query("q", enum)]),
                **post(obj(e=ref("E"), i=enum), ref("E")),
            }
        },
        E=enum,
    )


def with_default(schema: dict[str, Any], default: Any) -> dict[str, Any]:
    schema_with_default = {**schema, "default": default}
    return document(
        {
            X: {
                **get(THING, parameters=[query("q", schema_with_default)]),
                **post(obj(f=schema_with_default)),
            }
        }
    )


def at_path(path: str) -> dict[str, Any]:
    return document({path: get(THING), X: get(THING)})


def chain(link: Callable[[dict[str, str]], Any], length: int) -> dict[str, Any]:
    """Return a document with a chain of components."""
    schemas = {f"C{n}": link(ref(f"C{n + 1}")) for n in range(length)}
    return document(
        {X: {**get(ref("C0")), **post(obj(f=ref("C0")))}}, **schemas, **{f"C{length}": TEXT}
    )


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return document({X: {**get(THING, parameters=[query("q", schema)]), **post(obj(f=schema))}})


PRINTED = {
    f"component {name!r}": (document_with_component(name), reason)
    for name, reason in {
        "My-Thing": "",
        "my.thing.v1": "",
        "_": "",
        "-": "",
        "2fa": "",
        "class": "",
        "None": "",
        "Import": "",
        "Model": "",
        "list": "",
        "a b": "is called 'AB'",
        "a/b": "is called 'AB'",
        "a~b%": "is called 'AB'",
        "größe": "is called",
        "日本": "is called 'Schema'",
        "x{y}": "is called 'XY'",
        "a\r\nb": "is called 'AB'",
        'x"; import os': "is called 'XImportOs'",
    }.items()
}
ARGUMENTS = (
    "registry", "self", "options", "cls", "class", "print", "type", "None", "concurrency", "m",
    "list", "str", "OMIT", "__init__", "_executor", "model_dump", "2fa", "größe", "日本", "$", "",
    "a b", "a\"b'c", "a\r\nb", "{a}", "import", "match", "True", "def f(): pass",
)  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], str]] = {
    **PRINTED,
    "header of a token": (with_header("X-PostHog_Client"), ""),
    "header with a line break": (with_header("X-A\r\nB: c"), "is not a valid header name"),
    "header with a blank": (with_header("X A"), "is not a valid header name"),
    "header outside ascii": (with_header("X-Ä"), "is not a valid header name"),
    "header without a name": (with_header(""), "is not a valid header name"),
    "cookie": (with_header("sid", "cookie"), "cannot be sent"),
    "names that differ by case": (
        document({X: {**get(THING, parameters=[*map(query, ("aB", "a_b", "AB", "ab"))]),
                      **post(obj("aB", aB=TEXT, a_b=TEXT, ab=TEXT))}}),
        "its field is called 'a_b_'",
    ),
    "fields without a name": (
        document({X: post(ref("T"))}, T=obj("", **{"": TEXT, "$": TEXT, "日": TEXT, "self": TEXT})),
        "its field is called 'value__'",
    ),
    "components that differ by case": (
        document({X: post(ref("thing"), ref("Thing"))}, thing=THING, Thing=obj(b=TEXT)), "",
    ),
    "enum of quotes and line breaks": (
        with_values('"', "'", '"""', "\\", "a\nb", "a|b", "\\'", BREAKER, "", "a\\", "x | y"), "",
    ),
    "enum of many types": (with_values("a", 1, 1.5, True, None, {"a": 1}, ["b"]), ""),
    "enum of one float": (with_values(1.5), ""),
    "enum of objects": (with_values({"__import__('os')": 1}), ""),
    "enum with nothing in it": (with_values(), "the enum is empty"),
    "enum of a thousand": (with_values(*map(str, range(1000)), None), ""),
    "enum against its type": (with_values("a", "b", type="integer"), ""),
    "huge integers": (with_default({"type": "integer", "maximum": 10**300}, 10**300), ""),
    "default against its type": (with_default({"type": "boolean"}, "maybe"), "contradicts it"),
    "default null where null is not": (with_default({"type": "string"}, None), ""),
    "default outside its enum": (with_default({"enum": ["a"]}, "b"), "contradicts it"),
    "default against items": (
        with_default({"type": "array", "items": {"type": "integer"}}, ["x"]), "contradicts it",
    ),
    "default of a component": (
        document({X: {**get(ref("T")), **post(ref("T"))}},
                 T={"type": "object", "properties": {"a": {"type": "integer", "default": {}}}}),
        "/components/schemas/T/properties/a: its default contradicts it",
    ),
    "descriptions": (
        document({X: {**get({**THING, "description": BREAKER}, description=BREAKER,
                            parameters=[query("q", description=BREAKER)]),
                      **post(ref("T"))}},
                 T={**obj(a={**TEXT, "description": BREAKER}), "description": BREAKER,
                    "title": BREAKER}),
        "",
    ),
    "operation ids used twice": (
        document({X: get(THING, operationId="a"), ITEM: get(THING, operationId="a")}),
        "is used before",
    ),
    "operation id and tags": (
        document({X: get(THING, operationId=BREAKER, tags=[BREAKER, ""])}), "",
    ),
    "method and nested resource": (
        document({f"{P}/endpoints/{{name}}/": get(THING),
                  f"{P}/endpoints/{{name}}/versions/": get({"type": "array", "items": THING}),
                  f"{P}/endpoints/versions/{{id}}/create/": get(THING),
                  f"{P}/endpoints/versions/create/now/": get(THING)}),
        "",
    ),
    "two methods of one name": (
        document({f"{P}/x/{{id}}/a/": get(THING), f"{P}/x/{{id}}/{{b}}/a/": get(THING)}),
        "another method is called 'x.a'",
    ),
    "resources of one class name": (
        document({f"{P}/a/b_c/{{id}}/": get(THING), f"{P}/a/b/c/{{id}}/": get(THING)}), "",
    ),
    "resources with reserved names": (
        document({f"{P}/{name}/{{id}}/{action}/": get(THING)
                  for name in ("class", "import", "resource", "resources", "model", "stream",
                               "__init__", "2fa", "registry", "families", "None", "executor")
                  for action in ("operations", "list", "cached_property", "str", "self", "def")}),
        "",
    ),
    "unbalanced braces": (at_path(f"{P}/x/{{id/y/"), "braces do not match"),
    "text beside a placeholder": (at_path(f"{P}/x/{{a}}.{{b}}/"), "not a whole segment"),
    "a placeholder twice": (at_path(f"{P}/x/{{id}}/y/{{id}}/"), "placeholders of the same name"),
    "a line break in a path": (at_path(f"{P}/y\r\nz/"), "not allowed in a URL"),
    "dots in a path": (at_path(f"{P}/../x/"), "empty or only dots"),
    "a path of placeholders": (at_path(f"{P}/{{x}}/"), "names no resource"),
    "a path of nothing": (at_path("/api/"), "names no resource"),
    "a placeholder that is code": (at_path(f"{P}/y/{{__import__('os').abort()}}/"), ""),
    "a component that is itself": (document({X: post(ref("A"))}, A=ref("A")), "part of itself"),
    "allOf in a circle": (
        document({X: {**get(ref("A")), **post(obj(a=ref("B")))}},
                 A={"allOf": [ref("B"), THING]}, B={"allOf": [ref("A")]}),
        "part of itself",
    ),
    "unions in a circle": (
        document({X: post(obj(a=ref("A")), ref("A"))}, A={"anyOf": [ref("B"), TEXT]},
                 B={"oneOf": [ref("A"), {"type": "integer"}]}),
        "part of itself",
    ),
    "arrays and maps in a circle": (
        document({X: {**get(ref("A")), **post(obj(a=ref("A"), b=ref("M")))}},
                 A={"type": "array", "items": ref("A")},
                 M={"type": "object", "additionalProperties": {"anyOf": [ref("M"), ref("A")]}}),
        "",
    ),
    "keys beside a reference": (
        document({X: post(obj(a=ref("T", default="x", readOnly=True), b=ref("T", nullable=True)))},
                 T=TEXT),
        "",
    ),
    "null in every way": (
        document({X: post(obj(a={"type": ["string", "null"]}, b={"anyOf": [TEXT, {"type": "null"}]},
                              c={"type": "string", "nullable": True}, d={"enum": [None]},
                              e={"oneOf": [ref("N"), ref("T")]}, f={"allOf": [ref("T"), ref("N")]},
                              g={"type": ["null"]}, h={"const": None}))},
                 N={"enum": [None]}, T=THING),
        "",
    ),
    "types of 3.1": (
        document({X: {**get({"type": ["array", "object", "string", "null"], "items": TEXT,
                             "properties": {"a": True, "b": False}}),
                      **post({"type": ["object", "null"], "properties": {"a": TEXT}})}}),
        "a property that is not allowed",
    ),
    "types that are no text": (
        document({X: post(obj(a={"type": ["string", {"a": 1}, ["b"], 1]}))}), "is not a JSON type",
    ),
    "an unknown type": (document({X: post(obj(a={"type": "money"}))}), "is not a JSON type"),
    "a discriminator that maps to nothing at hand": (
        document({X: post(obj(a={"oneOf": [ref("T"), ref("U")], "discriminator": {
            "propertyName": "kind", "mapping": {"t": "T", "v": "V"}}}))},
            T=obj("kind", kind={"const": "t"}), U=obj("kind", kind={"const": "u"}), V=THING),
        "",
    ),
    "a discriminator without a union": (
        document({X: post({**THING, "discriminator": {"propertyName": "class"}})}), "no union",
    ),
    "a discriminator with a hostile name": (
        document({X: post(obj(a={"oneOf": [ref("T"), ref("U")],
                                 "discriminator": {"propertyName": '"""'}}))},
                 T=obj('"""', **{'"""': {"const": "t'"}}),
                 U=obj('"""', **{'"""': {"const": "\n"}})),
        "",
    ),
    "odd media types": (
        document({X: {"post": {"requestBody": {"content": {"text/x; q=\"\n": {"schema": TEXT}}},
                               "responses": {"200": {"description": "", "content": {
                                   "image/*": {}, "application/vnd.x+json": {"schema": THING},
                                   "Text/HTML": {}}}}}}}),
        "neither JSON nor multipart",
    ),
    "odd status codes": (
        document({X: {"get": {"responses": {
            "2XX": {"description": "", "content": {"application/json": {"schema": THING}}},
            "default": {"description": ""}, "20": {"description": ""},
            "x": {"description": ""}}}}}),
        "",
    ),
    "no answer at all": (
        document({X: {"get": {}, "trace": {}, "x-own": 1}}), "no method is generated for TRACE",
    ),
    "a chain of arrays": (chain(lambda more: {"type": "array", "items": more}, 150), ""),
    "a chain of objects": (chain(lambda more: obj(a=more), 40), ""),
    "nesting": (nested(DEEP), ""),
    "a class named by a keyword in two families": (
        document({X: get(ref("class")), f"{P}/y/": get(ref("class"))}, **{"class": THING}), "",
    ),
    "an old schema with the same": (
        document({X: post({**THING, "nullable": True})}, "3.0.3"), "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_schema_makes_a_package_whose_methods_can_be_called(
    generate: Generate, name: str
) -> None:
    schema, reason = CASES[name]
    package = generate(schema)
    assert reason in package.diagnostics
    assert package.operations
    package.call_all()
    for model in package.models.values():
        if isinstance(model, type) and issubclass(model, Model):
            model.model_rebuild()
    reached = {one for o in package.operations.values() for one in o.schema_operations}
    skipped = {one.operation for one in package.generated.surface.skipped}
    assert reached | skipped == {
        f"{method.upper()} {path}"
        for path, item in schema["paths"].items()
        for method in item
        if method in {"get", "post"}
    }


def test_parameters_and_fields_of_any_name_reach_the_server(generate: Generate) -> None:
    paths = {
        f"{P}/x{index}/": {
            **get(THING, parameters=[query(name, required=True)]),
            **post(obj(name, **{name: TEXT})),
        }
        for index, name in enumerate(ARGUMENTS)
    }
    package = generate(document(paths))
    package.call_all()
    for index, name in enumerate(ARGUMENTS):
        (parameter,) = package.operations[f"x{index}.get"].parameters
        request = package.call(f"x{index}.get", **{parameter.python_name: "v"})
        assert dict(request.url.params) == {name: "v"}
        body = package.operations[f"x{index}.create"].body
        assert body is not None
        ((field, _),) = body.fields
        request = package.call(f"x{index}.create", **{field: "v"})
        assert json.loads(request.content) == {name: "v"}


def test_exact_wire_name_keeps_its_argument_name(generate: Generate) -> None:
    names = ("A_B", "a b", "a_b", "class", "class_")
    body = obj(**dict.fromkeys(names, TEXT))
    parameters = [query(name) for name in names[:3]]
    package = generate(document({X: {**get(THING, parameters=parameters),
                                     **post(body)}}))  # fmt: skip
    request = package.call("x.get", a_b="1")
    assert dict(request.url.params) == {"a_b": "1"}
    for name in ("a_b", "class_"):
        assert json.loads(package.call("x.create", **{name: "1"}).content) == {name: "1"}


def test_header_names_with_line_breaks_are_dropped(generate: Generate) -> None:
    package = generate(with_header("X-A\r\nAuthorization"))
    assert package.operations["x.get"].parameters == ()
    assert "X-A\r\nAuthorization" not in "".join(package.generated.files.values())


@pytest.mark.parametrize("name", [
    "Host", "host", "Content-Length", "Transfer-Encoding", "Authorization", "Cookie", "Connection",
    "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect", "Proxy-Authorization", "Accept-Encoding",
    "Content-Encoding", "Content-Type", "Accept",
])  # fmt: skip
def test_headers_set_by_the_client_are_not_parameters(generate: Generate, name: str) -> None:
    package = generate(with_header(name))
    assert package.operations["x.get"].parameters == ()
    assert f"header {name} itself; it is dropped" in package.diagnostics or (
        f"header called {name}; it is dropped" in package.diagnostics
    )
    package.call_all()


def test_dropped_default_is_not_generated(generate: Generate) -> None:
    package = generate(with_default({"type": "boolean"}, "maybe"))
    assert "maybe" not in "".join(package.generated.files.values())
    assert package.diagnostics.count("'maybe' is no boolean; it is dropped") == 3


def test_the_schema_of_november_2025_makes_a_package(generate: Generate) -> None:
    path = f"{P}/endpoints/{{name}}/versions/"
    versions = get({"type": "array", "items": ref("Version")})
    schema = document(
        {path: versions, f"{P}/endpoints/{{name}}/versions/{{id}}/": get(ref("Version"))},
        Version=obj(active={"type": "boolean", "default": "yes"}),
    )
    package = generate(schema)
    assert sorted(package.operations) == ["endpoints.versions.get", "endpoints.versions.list"]
    package.call_all()
    # The same if the first name was released before the nested resource existed.
    released = ReleasedNames({f"GET {path}": "endpoints.versions"}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_names", lambda path: released)  # pyright: ignore
        package = generate(schema)
    assert sorted(package.operations) == ["endpoints.versions", "endpoints.versions_.get"]
    assert "'endpoints.versions' is a method already" in package.diagnostics
    assert "'yes' is no boolean; it is dropped" in package.diagnostics
    package.call_all()


def test_operations_that_are_one_url_make_one_method(generate: Generate) -> None:
    other = f"{P}/x/{{other_id}}/"
    package = generate(
        document({ITEM: get(THING), other: {**get(THING), **post(THING)}}),
    )
    assert sorted(package.operations) == ["x.create", "x.get"]
    operation = package.operations["x.get"]
    assert operation.schema_operations == (f"GET {ITEM}", f"GET {other}")
    pointer = "/paths/~1api~1projects~1{project_id}~1x~1{other_id}~1/get"
    assert f"{pointer}: it is the same operation as that of {ITEM}" in package.diagnostics
    assert package.generated.surface.schema_operations == (
        f"GET {ITEM}", f"GET {other}", f"POST {other}",
    )  # fmt: skip
    package.call_all()


def test_equal_operation_ids_are_reported_and_both_can_be_called(generate: Generate) -> None:
    package = generate(
        document({X: get(THING, operationId="same"), ITEM: get(THING, operationId="same")})
    )
    assert sorted(package.operations) == ["x.get", "x.list"]
    pointer = "/paths/~1api~1projects~1{project_id}~1x~1{id}~1/get"
    assert f"{pointer}: the operation id 'same' is used before" in package.diagnostics
    package.call_all()


def test_names_of_the_client_and_keywords_get_an_underscore(generate: Generate) -> None:
    names = ("aclose", "class", "export", "request", "with-options", "query")
    package = generate(
        document(
            {
                **{f"{P}/{name}/": get(THING) for name in names},
                f"{P}/x/{{id}}/import/": get(THING),
                f"{P}/x/{{id}}/dict/{{class}}/": get(THING),
            }
        )
    )
    assert sorted(package.operations) == [
        "aclose_.get", "class_.get", "export_.get", "query.get", "request_.get",
        "with_options_.get", "x.dict_.get", "x.import_",
    ]  # fmt: skip
    package.call_all()


BROKEN: dict[str, tuple[dict[str, Any] | str, str]] = {
    "a reference to nothing": (document({X: post(ref("Gone"))}), "not in the document"),
    "a reference to elsewhere": (document({X: post({"$ref": "other.json"})}), "outside"),
    "a mapping to nothing": (
        document({X: post({"oneOf": [ref("T")], "discriminator": {
            "propertyName": "k", "mapping": {"a": "#/components/schemas/Gone"}}})}, T=THING),
        "not in the document",
    ),
    "parameters in a circle": (
        {**document({X: get(THING, parameters=[{"$ref": "#/components/parameters/A"}])}),
         "components": {"parameters": {"A": {"$ref": "#/components/parameters/A"}}}},
        "in circles",
    ),
    "nested without end": (nested(120), "nested more than"),
    "properties that are a list": (
        document({X: post({"properties": []})}), "an object is expected",
    ),
    "not a number": ('{"openapi": "3.1.0", "paths": {"/api/x/": NaN}}', "not a number that"),
    "an infinite number": (
        json.dumps(with_default({"type": "number"}, "@")).replace('"@"', "1e999"), "not a number",
    ),
    "half a character": (
        json.dumps(document_with_component("@")).replace("@", "\\ud800"), "surrogate",
    ),
    "no operation that can be called": (
        document({f"{P}/a b/": get(THING), f"{P}/../x/": get(THING)}), "no method can be made",
    ),
    "a path of no operations": (document({X: {}}), "no method can be made"),
    "a key twice": ('{"openapi": "3.1.0", "paths": {}, "paths": {}}', "is repeated"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_schema_that_cannot_be_used_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    schema, reason = BROKEN[name]
    source = tmp_path / "schema.json"
    source.write_text(schema if isinstance(schema, str) else json.dumps(schema), encoding="utf-8")
    assert main(["generate", "--schema", str(source), "--out", str(tmp_path / "out")]) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith((f"codegen: {source}", "codegen: #"))
    assert reason in stderr
    assert not (tmp_path / "out").exists()


def test_schemas_too_deep_for_any_stage_are_a_clear_error(generate: Generate) -> None:
    with pytest.raises(SchemaError, match="too deeply"):
        generate(chain(lambda more: {"allOf": [more, THING]}, 3000))
