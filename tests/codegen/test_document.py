"""Loading documents from files and URLs, error messages, and the pinned form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.diagnostics import SchemaError
from codegen.document import dump, fetch, load
from codegen.parsing import parse

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "1.0.0"},
    "paths": {"/api/x/": {"get": {"responses": {"200": {"description": ""}}}}},
    "components": {"schemas": {"A": {"type": "string", "default": {"$ref": "data"}}}},
}
TEXT = json.dumps(DOCUMENT)


def saved(folder: Path, text: str | bytes, name: str = "schema") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["schema", "schema.json", "schema.yaml"])
@pytest.mark.parametrize(
    "text",
    [TEXT, "\ufeff  " + TEXT, yaml.safe_dump(DOCUMENT), "# x\n---\n" + yaml.safe_dump(DOCUMENT)],
    ids=["json", "json with a mark", "yaml", "yaml with a comment"],
)
def test_json_and_yaml_are_detected_by_content(tmp_path: Path, text: str, name: str) -> None:
    assert load(saved(tmp_path, text, name)) == DOCUMENT


def test_yaml_holds_what_json_would() -> None:
    text = """
    on: on
    yes: no
    at: 2026-01-02
    then: 2026-01-02T03:04:05Z
    sexagesimal: 12:30
    octal: 0o17
    zeros: 007
    underscore: 1_000
    plus: +1
    not: .nan
    power: 1e3
    200: [1, -2, 1.5, 1.0e+3, true, False, null, ~, ]
    quoted: ["1", 'true', "null", '']
    empty:
    block: |
      1
    shared: &x {a: 1}
    again: *x
    """

    assert parse(text.encode(), "text") == {
        "on": "on",
        "yes": "no",
        "at": "2026-01-02",
        "then": "2026-01-02T03:04:05Z",
        "sexagesimal": "12:30",
        "octal": "0o17",
        "zeros": "007",
        "underscore": "1_000",
        "plus": "+1",
        "not": ".nan",
        "power": "1e3",
        "200": [1, -2, 1.5, 1000.0, True, False, None, None],
        "quoted": ["1", "true", "null", ""],
        "empty": None,
        "block": "1\n",
        "shared": {"a": 1},
        "again": {"a": 1},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text: it is empty. Give the document a PostHog instance serves at /api/schema/."),
        ("<!doctype html><html>", "text: it is an HTML page, not an OpenAPI document."),
        ("# nothing", "text: it has only comments. Give"),
        (b"\xff\xfe", "text: it is not UTF-8 text (byte 0)."),
        ('{"a": 1,}', "text: it is not valid JSON ("),
        ('{"a": [{}, {"b/c": {"k": 1, "k": 2}}]}', "text#/a/1/b~1c: the key 'k' is repeated"),
        ("a: {k: 1}\nb: {k: 1, k: 2}", "text, line 2: the key 'k' is repeated"),
        ("1: a\n'1': b", "text, line 2: the key '1' is repeated"),
        ("a: [", "text: it is neither JSON nor valid YAML (did not find expected node content"),
        ("a: 1\n---\nb: 2", "text, line 2: a second document starts"),
        ("[a]: 1", "text: it is not valid JSON"),
        ("? [a]\n: 1", "text, line 1: a key has to be a scalar"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "text, line 3: merge keys (`<<`) are not supported"),
        ("a: &x [*x]", "text, line 1: the alias *x refers to an unknown or incomplete node"),
        ('{"a": NaN}', "text: NaN is not a number that can be used"),
        ('{"a": 1e999}', "text: 1e999 is not a number that can be used"),
        ("a: 1.0e+999", "text, line 1: 1.0e+999 is not a number that can be used"),
        ('{"a": ' + "1" * 999 + "}", "text: 1111111111111111111111111111111111111111 is not a"),
        ('{"a": "\\ud800"}', "text: it has half of a surrogate pair"),
        ('{"a":' * 200 + "1" + "}" * 200, "/a/a: it is nested more than 100 levels deep"),
        ("[" * 100_000, "text: it is nested more than 100 levels deep"),
        ("- " * 100_000, "text, line 1: it is nested more than 100 levels deep"),
    ],
)  # fmt: skip
def test_unreadable_sources_raise_a_located_error(text: str | bytes, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "text")

    assert message in str(caught.value)


def test_aliases_do_not_expand_without_end() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    with pytest.raises(SchemaError, match="its aliases expand to more than"):
        parse("\n".join(levels).encode(), "text")


def changed(**parts: Any) -> str:
    return json.dumps({key: value for key, value in {**DOCUMENT, **parts}.items() if value != ...})


SCHEMA = {"components": {"schemas": {"A": {"properties": {"$ref": {"$ref": "#/nowhere"}}}}}}
REMOTE = {"components": {"schemas": {"A": {"items": {"$ref": "https://example.com/a.json#/A"}}}}}
PARAMETER = {"parameters": [{"$ref": "#/components/parameters/P"}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", ": it holds a list, not an OpenAPI document. Give the document a PostHog"),
        ("just text", ": it holds str data, not an OpenAPI document."),
        (changed(swagger="2.0", openapi=...), ": it is Swagger 2.0. Convert it to OpenAPI"),
        (changed(openapi=...), ": it has no `openapi` key."),
        (changed(openapi="3.2.0"), "#/openapi: its version is OpenAPI 3.2.0. Give one of"),
        (changed(openapi="2"), "#/openapi: its version is OpenAPI 2."),
        (changed(paths=...), "#/paths: it has no operations."),
        (changed(paths={}), "#/paths: it has no operations."),
        (changed(paths={"/pets/": {}}), "#/paths: no path starts with /api/, so it is not PostHog"),
        (changed(**SCHEMA), "/schemas/A/properties/$ref/$ref: it refers to '#/nowhere'"),
        (changed(**REMOTE), "A/items/$ref: it refers to 'https://example.com/a.json#/A', outside"),
        (
            changed(paths={"/api/x/": {"get": PARAMETER}}),
            "#/paths/~1api~1x~1/get/parameters/0/$ref: it refers to '#/components/parameters/P'",
        ),
    ],
)  # fmt: skip
def test_documents_of_other_services_are_refused(tmp_path: Path, text: str, message: str) -> None:
    source = saved(tmp_path, text)

    with pytest.raises(SchemaError) as caught:
        load(source)

    assert str(caught.value).startswith(source)
    assert message in str(caught.value)


@pytest.mark.parametrize("version", ["3.0.0", "3.0.3", "3.1.0", "3.1.1"])
def test_versions_that_are_read(tmp_path: Path, version: str) -> None:
    assert load(saved(tmp_path, changed(openapi=version)))["openapi"] == version


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"there is no such file\. Give a path or a URL"):
        load(str(tmp_path / "missing.json"))
    with pytest.raises(SchemaError, match="it cannot be read"):
        load(str(tmp_path))


Handler = Callable[[httpx.Request], httpx.Response]


def serving(*answers: httpx.Response) -> tuple[list[httpx.Request], httpx.MockTransport]:
    """Return the list of received requests and a transport with scripted responses."""
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answers[len(requests) - 1]

    return requests, httpx.MockTransport(handler)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("https://us.posthog.com", "https://us.posthog.com/api/schema/"),
        ("eu.posthog.com/", "https://eu.posthog.com/api/schema/"),
        ("https://example.com/analytics/api/", "https://example.com/analytics/api/schema/"),
        ("https://example.com/api/schema/", "https://example.com/api/schema/"),
        ("http://localhost:8000", "http://localhost:8000/api/schema/"),
        ("http://127.0.0.2", "http://127.0.0.2/api/schema/"),
        ("http://[::1]:8000", "http://[::1]:8000/api/schema/"),
    ],
)
@pytest.mark.parametrize("text", [TEXT, yaml.safe_dump(DOCUMENT)], ids=["json", "yaml"])
def test_fetch_requests_the_schema_endpoint(host: str, url: str, text: str) -> None:
    requests, transport = serving(httpx.Response(200, text=text))

    assert fetch(host, transport=transport) == DOCUMENT

    (request,) = requests
    assert str(request.url) == url
    assert request.headers["accept"].startswith("application/vnd.oai.openapi+json, ")
    assert "authorization" not in request.headers


def test_load_takes_a_url_and_follows_redirects() -> None:
    moved = httpx.Response(302, headers={"location": "https://us.example.com/s"})
    requests, transport = serving(moved, httpx.Response(200, text=TEXT))

    assert load("HTTPS://example.com/s?format=json", transport=transport) == DOCUMENT

    assert [str(request.url) for request in requests] == [
        "https://example.com/s?format=json",
        "https://us.example.com/s",
    ]


PLAIN = "read over plain http can be changed on the way. Use https://"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(401), "it responds with 401. Save the document from a browser"),
        (httpx.Response(403), "it responds with 403. Save the document from a browser"),
        (httpx.Response(404), "it responds with 404. Give the document a PostHog instance serves"),
        (httpx.Response(502, text="<html>"), "it responds with 502."),
        (httpx.Response(200, text="<html>"), "it is an HTML page, not an OpenAPI document."),
        (httpx.Response(200, text="{}"), "it has no `openapi` key."),
        (httpx.Response(302, headers={"location": "http://example.com/s"}), PLAIN),
    ],
)
def test_error_responses_are_refused(answer: httpx.Response, message: str) -> None:
    _, transport = serving(answer)

    with pytest.raises(SchemaError) as caught:
        fetch("https://me:secret@example.com", transport=transport)

    assert "example.com/" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ConnectError("refused"), "it cannot be reached (refused). Check the address"),
        (httpx.ReadError(""), "it cannot be reached (ReadError)."),
        (httpx.ReadTimeout(""), "no response within 5 s. Try again later"),
    ],
)
def test_unreachable_hosts(error: httpx.TransportError, message: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(SchemaError) as caught:
        fetch("https://example.com", timeout=5.0, transport=httpx.MockTransport(handler))

    assert str(caught.value).startswith(f"https://example.com/api/schema/: {message}")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("http://us.posthog.com", PLAIN),
        ("ftp://example.com", "it is not an http(s) URL. Give one such as https://host"),
        ("https://exa mple:x", "it is not a URL"),
        ("https://", "it is not an http(s) URL"),
    ],
)
def test_invalid_hosts_are_refused(host: str, message: str) -> None:
    requests, transport = serving(httpx.Response(200, text=TEXT))

    with pytest.raises(SchemaError) as caught:
        fetch(host, transport=transport)

    assert message in str(caught.value)
    assert requests == []


def test_the_pinned_form_reads_well_in_a_diff() -> None:
    names = [f"value-number-{number}" for number in range(8)]
    document = {"b": {"enum": names, "type": "string"}, "a": {"z": [], "ä": {"y": None, "x": 1}}}

    assert dump(document) == (
        "{\n"
        ' "a": {"z": [], "ä": {"x": 1, "y": null}},\n'
        ' "b": {\n'
        '  "enum": [\n' + ",\n".join(f'   "{name}"' for name in names) + "\n  ],\n"
        '  "type": "string"\n'
        " }\n"
        "}\n"
    )


data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab<-: 1"), inner),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=st.dictionaries(st.text("abc:#/ ä0"), data, min_size=1))
def test_dump_and_parse_round_trip(document: dict[str, Any]) -> None:
    text = dump(document)

    assert json.loads(text) == document
    assert parse(text.encode(), "text") == document
    assert dump(parse(text.encode(), "text")) == text
    assert max(map(len, text.splitlines())) <= 100 or max(map(len, _leaves(document))) > 70


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for key in value for leaf in [key, *_leaves(value[key])]] or [""]
    if isinstance(value, list):
        return [leaf for part in value for leaf in _leaves(part)] or [""]
    return [json.dumps(value, ensure_ascii=False)]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=st.dictionaries(st.text("abc0"), data, min_size=1))
def test_yaml_means_the_same(document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)

    assert parse(text.encode(), "text") == document
