"""The sections `names` and `model_names`, and what else decides how signatures read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncposthog.operation import Operation
from codegen import pipeline
from codegen.name_overrides import NameOverrides, operation_shape
from codegen.naming import class_name
from codegen.overrides import Overrides, apply_overrides, load_overrides
from codegen.render.registry import registry_files
from codegen.render.resources import resource_files
from codegen.surface import ReleasedNames, Surface, build_surface

P = "/api/projects/{project_id}"
ORGANIZATION = "/api/organizations/{organization_id}"
COMPONENTS = {
    "ThingDTO": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
    "Thing": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
}


def answer(component: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{component}"}
    return {
        "parameters": list(parameters),
        "responses": {"200": {"content": {"application/json": {"schema": schema}}}},
    }


def build(
    paths: dict[str, Any],
    released: dict[str, str] | None = None,
    *,
    methods: dict[str, str] | None = None,
    aliases: dict[str, str] | None = None,
    models: dict[str, str] | None = None,
) -> Surface:
    names = NameOverrides(
        {operation_shape(key): name for key, name in (methods or {}).items()},
        {name: operation_shape(key) for name, key in (aliases or {}).items()},
        models or {},
    )
    document = {"openapi": "3.1.0", "paths": paths, "components": {"schemas": COMPONENTS}}
    return build_surface(document, Overrides(names=names), ReleasedNames(released or {}, {}))


def operation_of(surface: Surface, name: str) -> Operation:
    return next(m.operation for m in surface.methods if m.operation.id == name)


def names_of(surface: Surface) -> list[str]:
    return [method.operation.id for method in surface.methods]


def test_the_names_of_placeholders_do_not_matter() -> None:
    paths = {f"{P}/things/{{thing_id}}/warm/": {"post": answer("Thing")}}
    named = build(paths, methods={f"POST {P}/things/{{id}}/warm/": "things.prepare"})
    assert names_of(named) == ["things.prepare"]


def test_a_chosen_name_is_taken_from_the_operation_that_was_released_with_it() -> None:
    paths = {f"{P}/a/one/": {"get": answer("Thing")}, f"{P}/a/two/": {"get": answer("Thing")}}
    released = {f"GET {P}/a/one/": "a.two", f"GET {P}/a/two/": "a.old"}
    surface = build(paths, released, methods={f"GET {P}/a/two/": "a.two"})
    assert surface.released == {f"GET {P}/a/one/": "a.one", f"GET {P}/a/two/": "a.two"}
    assert surface.renamed == {f"GET {P}/a/one/": "a.one"}


def test_an_alias_is_a_second_method() -> None:
    path, item = f"{ORGANIZATION}/projects/", f"{ORGANIZATION}/projects/{{id}}/"
    paths = {path: {"post": answer("Thing")}, item: {"get": answer("Thing")}}
    surface = build(paths, aliases={"projects.create": f"POST {path}"})
    assert names_of(surface) == [
        "organizations.projects.create",
        "organizations.projects.get",
        "projects.create",
    ]
    alias = operation_of(surface, "projects.create")
    assert (alias.method, alias.path, alias.owner) == ("POST", path, "organization")
    # The released name of the operation is the first one, and it is counted once.
    assert surface.released[f"POST {path}"] == "organizations.projects.create"
    assert surface.schema_operations == (f"GET {item}", f"POST {path}")
    assert surface.users["Thing"] == {"organizations", "projects"}


@pytest.mark.parametrize("alias", ["things.warm", "things.parts"])
def test_an_alias_that_is_taken_is_left_out(alias: str) -> None:
    paths = {
        f"{P}/things/warm/": {"post": answer("Thing")},
        f"{P}/things/{{id}}/parts/{{part}}/": {"get": answer("Thing")},
    }
    surface = build(paths, aliases={alias: f"GET {P}/things/{{id}}/parts/{{part}}/"})
    assert names_of(surface) == ["things.parts.get", "things.warm"]
    assert [alias in diagnostic.reason for diagnostic in surface.diagnostics] == [True]


def test_a_model_can_take_the_name_of_another() -> None:
    paths = {f"{P}/things/": {"get": answer("ThingDTO"), "post": answer("Thing")}}
    both = {"ThingDTO": "Thing", "Thing": "OldThing"}
    surface = build(paths, models=both)
    assert surface.class_names == both
    assert operation_of(surface, "things.get").result.model == "Thing"
    assert NameOverrides(models=both).clashes(surface.class_names) == []

    one = NameOverrides(models={"ThingDTO": "Thing"})
    [clash] = one.clashes(build(paths, models=dict(one.models)).class_names)
    assert clash.pointer == "#/components/schemas/Thing"
    assert "model_names gives the name Thing to ThingDTO" in clash.reason


VALID = "reason: r\n  source: s\n  "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names:\n  methods: {}\n", "names has no reason"),
        (f"names:\n  {VALID}wrong: 1\n", "unknown keys \\['wrong'\\]"),
        (f"names:\n  {VALID}methods: {{GET /api/a/: a}}\n", "'a' is not the name of a method"),
        (f"names:\n  {VALID}methods: {{GET /api/a/: a.import}}\n", "is not the name of a method"),
        (f"names:\n  {VALID}methods: {{GET /api/a/: a._b}}\n", "is not the name of a method"),
        (
            f"names:\n  {VALID}methods: {{GET /api/a/: a.b, GET /api/b/: a.b}}\n",
            "a.b is given to two entries",
        ),
        (
            f"names:\n  {VALID}methods: {{'GET /api/{{x}}/a/': a.b, 'GET /api/{{y}}/a/': a.c}}\n",
            "two entries are about the same operation",
        ),
        (
            f"names:\n  {VALID}methods: {{GET /api/a/: a.b}}\n"
            "operations:\n- {operation: GET /api/a/, name: a.c, reason: r, source: s}\n",
            "has a name in the section names too",
        ),
        (f"model_names:\n  {VALID}models: {{A: thing}}\n", "'thing' is not a class name"),
        (f"model_names:\n  {VALID}models: {{A: C, B: C}}\n", "C is given to two entries"),
    ],
)
def test_wrong_sections_are_errors(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "overrides.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_overrides(file)


def test_names_of_what_does_not_exist_are_reported() -> None:
    names = NameOverrides(
        {"GET /api/no/": "a.b"}, {"c.d": "GET /api/nor/{}/"}, {"Nothing": "Something"}
    )
    document = {"paths": {"/api/a/": {"get": {}}}, "components": {"schemas": {}}}
    _, diagnostics = apply_overrides(document, Overrides(names=names))
    assert [diagnostic.pointer for diagnostic in diagnostics] == [
        "GET /api/no/",
        "GET /api/nor/{}/",
        "#/components/schemas/Nothing",
    ]


def test_every_chosen_name_differs_from_the_component() -> None:
    models = load_overrides(pipeline.OVERRIDES_FILE).names.models
    assert [name for component, name in models.items() if class_name(component) == name] == []


def test_families_of_paths_that_are_named_otherwise() -> None:
    paths = {
        f"{P}/saved/": {"get": answer("Thing")},
        f"{P}/things/": {"get": answer("Thing")},
        f"{ORGANIZATION}/projects/": {"post": answer("Thing")},
    }
    surface = build(
        paths,
        methods={f"GET {P}/saved/": "heatmaps.saved"},
        aliases={"projects.create": f"POST {ORGANIZATION}/projects/"},
    )
    index = registry_files(surface)["registry/__init__.py"]
    listed = index.partition("OTHER_FAMILIES: Mapping[str, tuple[str, ...]] = {\n")[2]
    assert listed.partition("}")[0] == "    'saved': ('heatmaps',),\n"


def query(name: str, *values: str) -> dict[str, Any]:
    return {"in": "query", "name": name, "schema": {"type": "string", "enum": list(values)}}


def test_text_enums_of_true_and_false_accept_bools() -> None:
    parameters = (
        query("active", "STALE", "false", "true"),
        query("eligible", "true"),
        query("kind", "a", "b"),
    )
    surface = build({f"{P}/things/": {"get": answer("Thing", *parameters)}})
    [method] = surface.methods
    assert {a.python_name: a.annotation for a in method.arguments} == {
        "active": "bool | Literal['STALE', 'false', 'true']",
        "eligible": "Literal[True] | Literal['true']",
        "kind": "Literal['a', 'b']",
    }


def test_only_lists_in_any_order_have_the_argument_concurrency() -> None:
    page = {
        "type": "object",
        "properties": {"count": {}, "next": {}, "results": {"type": "array", "items": {}}},
    }
    number = {"schema": {"type": "integer"}, "in": "query"}
    total = {"name": "include_total", "in": "query", "schema": {"type": "boolean"}}
    responses = {"200": {"content": {"application/json": {"schema": page}}}}
    listed = {
        f"{P}/offsets/": [{"name": "offset", **number}],
        f"{P}/cursors/": [{"name": "cursor", **number}],
        f"{P}/totals/": [{"name": "cursor", **number}, total],
    }
    surface = build(
        {
            path: {"get": {"parameters": parameters, "responses": responses}}
            for path, parameters in listed.items()
        }
    )
    texts = resource_files(surface)
    assert {
        family: "concurrency: int = 1" in texts[f"resources/{family}.py"]
        for family in ("offsets", "cursors", "totals")
    } == {"offsets": True, "cursors": False, "totals": True}
