"""`openapi/docs.yaml`: how it is read, checked and rendered."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from codegen.docs_file import Docs, apply_docs, load_docs, model_docs, unmatched_docs
from codegen.models import ModelPlan, build_models
from codegen.overrides import OperationOverrides, Overrides
from codegen.phrases import Noun, default_noun
from codegen.pipeline import DOCS_FILE, PINNED_SCHEMA
from codegen.render.reference import reference_files
from codegen.render.resources import resource_files
from codegen.surface import Method, ReleasedNames, Surface, build_surface

P = "/api/projects/{project_id}"
TEXT = {"type": "string"}
WIDGET = {"$ref": "#/components/schemas/Widget"}


def answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"content": {"application/json": {"schema": schema}}}}


def document() -> dict[str, Any]:
    """Return a document with widgets, their parts and an action."""
    listing = {"type": "object", "properties": {"results": {"type": "array", "items": WIDGET}}}
    limit = {
        "in": "query",
        "name": "limit",
        "schema": {"type": "integer", "default": 20},
    }
    body = {"content": {"application/json": {"schema": WIDGET}}, "required": True}
    paths = {
        f"{P}/widgets/": {
            "get": {"parameters": [limit], "responses": answer(listing)},
            "post": {"requestBody": body, "responses": answer(WIDGET)},
        },
        f"{P}/widgets/{{id}}/": {
            "get": {"responses": answer(WIDGET)},
            "delete": {"responses": {"204": {}}},
        },
        f"{P}/widgets/{{id}}/freeze/": {"post": {"responses": answer({})}},
        f"{P}/widgets/{{id}}/blurb/": {"post": {"responses": answer({})}},
        f"{P}/widgets/{{widget_id}}/parts/": {
            "get": {"responses": answer(listing)},
        },
        f"{P}/widgets/{{widget_id}}/parts/{{id}}/": {"get": {"responses": answer(WIDGET)}},
    }
    widget = {"type": "object", "properties": {"name": TEXT, "hue": TEXT}, "required": ["name"]}
    return {"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"Widget": widget}}}


def surface() -> Surface:
    return build_surface(document(), Overrides(), ReleasedNames({}, {}))


def load(tmp_path: Path, raw: dict[str, Any]) -> Docs:
    path = tmp_path / "docs.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_docs(path)


def method_of(surface: Surface, name: str) -> Method:
    return next(method for method in surface.methods if method.operation.id == name)


DOCS: dict[str, Any] = {
    "resources": {
        f"{P}/widgets/": "A widget is a part of a machine.",
        f"{P}/widgets/{{id}}/parts/": {"noun": "part of a widget/parts of a widget", "text": "X."},
    },
    "operations": {
        f"POST {P}/widgets/": {"text": "Build a widget.", "args": {"hue": "Its colour."}},
    },
    "parameters": {"limit": "How many at once.", "{id}": "The number of it."},
    "models": {"Widget": {"text": "A thing.", "fields": {"name": "What it is called."}}},
}


def docstrings(surface: Surface) -> dict[str, str]:
    """Return the docstrings of the generated classes and methods, by name."""
    found: dict[str, str] = {}
    for source in resource_files(surface).values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                found[node.name] = ast.get_docstring(node) or ""
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                        found[f"{node.name}.{inner.name}"] = ast.get_docstring(inner) or ""
    return found


def test_texts_become_docstrings(tmp_path: Path) -> None:
    found = docstrings(apply_docs(surface(), load(tmp_path, DOCS)))
    assert found["Widgets"] == "A widget is a part of a machine."
    create = found["Widgets.create"]
    assert create.startswith("Build a widget.\n")
    assert "Args:\n    name: What it is called.\n    hue: Its colour." in create
    assert "Returns:\n    `Widget`." in create
    assert "limit: How many at once. Default: `20`." in found["Widgets.list"]
    assert "id: The number of it." in found["Widgets.get"]


def test_other_methods_get_a_sentence_and_what_the_resource_is(tmp_path: Path) -> None:
    documented = apply_docs(surface(), load(tmp_path, DOCS))
    found = docstrings(documented)
    assert found["Widgets.get"].startswith("Get a widget.\n\nA widget is a part of a machine.\n")
    assert found["Widgets.freeze"].startswith("Freeze a widget.\n")
    assert found["WidgetsParts.list"].startswith("List parts of a widget.\n")
    template = [m.operation.id for m in documented.methods if m.template_only]
    assert template == ["widgets.blurb"], "no verb, so nothing is known about it"
    assert all(m.template_only for m in apply_docs(surface(), Docs()).methods)


def test_entries_do_not_depend_on_names(tmp_path: Path) -> None:
    path = f"{P}/widgets/{{id}}/"
    released = ReleasedNames({f"GET {path}": "gadgets.fetch", f"DELETE {path}": "gadgets.drop"}, {})
    renamed = build_surface(document(), Overrides(), released)
    docs = {**DOCS, "operations": {f"GET {P}/widgets/{{uuid}}/": "Fetch it."}}
    documented = apply_docs(renamed, load(tmp_path, docs))
    assert method_of(documented, "gadgets.fetch").summary == "Fetch it."
    assert unmatched_docs(renamed, load(tmp_path, docs)) == []


def test_a_resource_can_have_paths_with_no_start_in_common(tmp_path: Path) -> None:
    item = f"{P}/widgets/{{id}}"
    overrides = tuple(
        OperationOverrides(operation, {"name": name})
        for operation, name in (
            (f"POST {item}/freeze/", "widgets.states.freeze"),
            (f"POST {item}/blurb/", "widgets.states.describe"),
            (f"GET {P}/widgets/{{widget_id}}/parts/{{id}}/", "widgets.states.get"),
        )
    )
    built = build_surface(document(), Overrides(operations=overrides), ReleasedNames({}, {}))
    also = [f"{P}/widgets/{{uuid}}/blurb/", f"{item}/parts/{{id}}/"]
    state = {"text": "A state of a widget.", "also": also}
    docs = {"resources": {f"{P}/widgets/": "A widget.", f"{item}/freeze/": state}}
    found = docstrings(apply_docs(built, load(tmp_path, docs)))
    assert (found["Widgets"], found["WidgetsStates"]) == ("A widget.", "A state of a widget.")
    assert unmatched_docs(built, load(tmp_path, docs)) == []


def test_models_and_fields_get_docstrings(tmp_path: Path) -> None:
    built = surface()
    docs = model_docs(built, load(tmp_path, DOCS))
    plan = ModelPlan(document=built.document, names=built.class_names, users=built.users, docs=docs)
    source = "\n".join(build_models(plan).files.values())
    assert 'class Widget(Model):\n    """A thing."""\n    name: str\n' in source
    assert 'name: str\n    """What it is called."""\n    hue' in source


def test_text_cannot_leave_its_docstring(tmp_path: Path) -> None:
    evil = 'He said """) \\ """; import os\n"'
    docs: dict[str, Any] = {
        "models": {"Widget": {"text": evil, "fields": {"name": evil, "hue": evil}}}
    }
    docs["operations"] = {f"POST {P}/widgets/": {"text": evil, "args": {"name": evil}}}
    docs["resources"] = {f"{P}/widgets/": evil}
    built = apply_docs(surface(), load(tmp_path, docs))
    plan = ModelPlan(
        document=built.document,
        names=built.class_names,
        users=built.users,
        docs=model_docs(built, load(tmp_path, docs)),
    )
    sources = [*build_models(plan).files.values(), *resource_files(built).values()]
    imported = {
        alias.name
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "os" not in imported


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"operations": {f"GET {P}/gone/": "x"}}, "there is no such operation"),
        ({"operations": {f"PUT {P}/widgets/": "x"}}, "there is no such operation"),
        ({"operations": {f"POST {P}/widgets/": {"args": {"size": "x"}}}}, "no argument 'size'"),
        ({"resources": {f"{P}/gone/": "x"}}, "no path starts with it"),
        ({"resources": {f"{P}/widg": "x"}}, "no path starts with it"),
        (
            {"resources": {f"{P}/widgets/": {"text": "x", "also": [f"{P}/gone/"]}}},
            "no path starts with it",
        ),
        ({"parameters": {"hue": "a field, but no parameter"}}, "no operation has it"),
        ({"parameters": {"{limit}": "not in a path"}}, "no operation has it"),
        ({"models": {"Gone": "x"}}, "there is no such component"),
        ({"models": {"Widget": {"fields": {"size": "x"}}}}, "no field 'size'"),
    ],
)
def test_an_entry_without_a_counterpart_is_an_error(
    tmp_path: Path, change: dict[str, Any], error: str
) -> None:
    assert unmatched_docs(surface(), load(tmp_path, DOCS)) == []
    (found,) = unmatched_docs(surface(), load(tmp_path, change))
    assert error in found


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ({"method": {}}, "unknown sections"),
        ({"operations": {"GET /api/x/": {"txt": "x"}}}, "unknown keys ['txt']"),
        ({"operations": {"GET /api/x/": ["x"]}}, "give a text"),
        ({"operations": {"GET /api/x/": {"text": 1}}}, "text is not a text"),
        ({"resources": {"/api/x/": {"text": "x", "nouns": "x"}}}, "unknown keys ['nouns']"),
        ({"resources": {"/api/x/": {"text": "x", "also": "/api/y/"}}}, "give a list of paths"),
        ({"parameters": {"limit": 1}}, "give texts by name"),
        ({"models": {"X": {"fields": ["a"]}}}, "give texts by name"),
    ],
)
def test_unknown_keys_and_types_are_errors(tmp_path: Path, raw: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(tmp_path, raw)
    assert error in str(caught.value)


def test_the_reference_has_an_index_and_a_page_for_each_resource(tmp_path: Path) -> None:
    files = reference_files(apply_docs(surface(), load(tmp_path, DOCS)))
    assert sorted(files) == ["reference.md", "reference/widgets.md"]
    assert (
        "[`widgets`](reference/widgets.md) | 8 | A widget is a part of a machine. |"
        in (files["reference.md"])
    )
    page = files["reference/widgets.md"]
    assert "[`widgets.create`](#widgetscreate) | Build a widget. |" in page
    section = page[page.index("### widgets.create") :]
    assert "`POST /projects/{project_id}/widgets/` · scope `[unknown]`" in section
    assert "- `name` (required): What it is called." in section


def test_markdown_in_a_text_is_shown_as_it_is() -> None:
    built = surface()
    text = "A <b>bold</b> [link](x) | `a[b]`."
    resources = tuple(replace(resource, doc=text) for resource in built.resources)
    index = reference_files(replace(built, resources=resources))["reference.md"]
    assert "A &lt;b&gt;bold&lt;/b&gt; \\[link\\](x) \\| `a[b]`." in index


@pytest.mark.parametrize(
    ("path", "one", "many"),
    [
        (("feature_flags",), "a feature flag", "feature flags"),
        (("error_tracking", "issues"), "an error tracking issue", "error tracking issues"),
        (("llm_prompts",), "an LLM prompt", "LLM prompts"),
        (("approval_policies",), "an approval policy", "approval policies"),
        (("users",), "a user", "users"),
        (("uploads",), "an upload", "uploads"),
    ],
)
def test_nouns_of_resources(path: tuple[str, ...], one: str, many: str) -> None:
    noun = default_noun(path)
    assert (noun.with_article, noun.plural) == (one, many)


def test_a_noun_can_be_given() -> None:
    assert Noun.parse("canvas/canvases").plural == "canvases"
    settings = Noun.parse("the settings of a canvas")
    assert settings.with_article == settings.plural == "the settings of a canvas"


def test_the_docs_of_the_pinned_document_name_only_prose() -> None:
    docs = load_docs(DOCS_FILE)
    texts = [
        *(doc.text for doc in docs.operations.values() if doc.text),
        *(doc.text for doc in docs.resources.values()),
        *docs.parameters.values(),
        *(text for doc in docs.models.values() for text in (doc.text, *doc.fields.values())),
    ]
    assert [text for text in texts if not text.endswith((".", ")"))] == []


MOST_USED = [
    "actions",
    "alerts",
    "annotations",
    "batch_exports",
    "cohorts",
    "dashboards",
    "early_access_feature",
    "error_tracking/issues",
    "evaluations",
    "event_definitions",
    "events",
    "experiments",
    "external_data_sources",
    "feature_flags",
    "groups",
    "hog_functions",
    "insights",
    "notebooks",
    "persons",
    "property_definitions",
    "query",
    "session_recordings",
    "subscriptions",
    "surveys",
    "tasks",
    "warehouse_saved_queries",
    "warehouse_tables",
    "web_experiments",
]


@pytest.mark.parametrize("name", MOST_USED)
def test_the_most_used_resources_have_a_sentence_for_each_basic_operation(name: str) -> None:
    documented = {_shape(key) for key in load_docs(DOCS_FILE).operations}
    pinned = json.loads(PINNED_SCHEMA.read_text(encoding="utf-8"))
    collection = f"/api/projects/{{}}/{name}/"
    basic = {
        _shape(f"{verb.upper()} {path}")
        for path, item in pinned["paths"].items()
        if _shape(path) in {collection, f"{collection}{{}}/"}
        for verb in item
        if verb != "put"
    }
    assert basic
    assert basic - documented == set()


def _shape(text: str) -> str:
    return re.sub(r"\{[^{}]*\}", "{}", text)
