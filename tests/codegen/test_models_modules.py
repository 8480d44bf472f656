"""The package of models: modules, order, lazy imports."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from codegen.render.text import BANNER

from .model_helpers import NUMBER, TEXT, Package, build, obj, package, ref

SCHEMAS: dict[str, Any] = {
    "Flag": obj(by=ref("User"), s=ref("Status"), filters=obj(a=TEXT)),
    "FlagBody": obj(s=ref("Status")),
    "Status": {"type": "string", "enum": ["on", "off"]},
    "User": obj(role=ref("Role")),
    "Role": {"type": "string", "enum": ["admin"]},
    "Cohort": obj(by=ref("User"), query=ref("HogQLQuery")),
    "CohortBody": obj(x=TEXT),
    "OtherBody": obj(shape=ref("Shape")),
    "Shape": obj(x=TEXT),
    "QueryRequest": obj(query={"anyOf": [ref("HogQLQuery"), ref("TrendsQuery")]}),
    "HogQLQuery": obj("kind", kind={"const": "HogQLQuery"}, range=ref("DateRange")),
    "TrendsQuery": obj("kind", kind={"const": "TrendsQuery"}, range=ref("DateRange")),
    "DateRange": obj(dateFrom=TEXT),
    "QueryLog": obj(x=TEXT),
    "Unused": obj(x=TEXT),
}
USERS = {
    "Flag": {"flags", "flags!request"},
    "FlagBody": {"flags!request"},
    "Cohort": {"cohorts"},
    "CohortBody": {"cohorts!request"},
    "OtherBody": {"flags!request", "cohorts!request"},
    "QueryRequest": {"query!request"},
    "QueryLog": {"query"},
}
OPTIONS = {"users": {name: frozenset(users) for name, users in USERS.items()}}
WHERE = {
    "Flag": "flags",
    "FlagFilters": "flags",
    "Status": "flags",
    "FlagBody": "flags_requests",
    "User": "shared.user",
    "Role": "shared.user",
    "Cohort": "cohorts",
    "CohortBody": "cohorts_requests",
    "OtherBody": "shared.shape",
    "Shape": "shared.shape",
    "QueryRequest": "query.query_request",
    "HogQLQuery": "query.hogql_query",
    "TrendsQuery": "query.trends_query",
    "DateRange": "query.date_range",
    "QueryLog": "query_models",
}


@pytest.fixture
def generated(tmp_path: Path) -> Package:
    return package(SCHEMAS, tmp_path, **OPTIONS)


def test_models_are_grouped_by_users(generated: Package) -> None:
    assert generated.set.exports == WHERE


def test_unused_components_are_not_generated(generated: Package) -> None:
    assert "Unused" not in generated.set.exports
    assert not hasattr(generated.models, "Unused")


def test_every_exported_model_can_be_built(generated: Package) -> None:
    assert generated.models.__all__ == sorted(WHERE)
    assert set(dir(generated.models)) >= set(WHERE)
    for name in WHERE:
        TypeAdapter(getattr(generated.models, name)).json_schema()


def test_a_name_is_looked_up_once(generated: Package) -> None:
    assert "Cohort" not in vars(generated.models)
    assert generated.models.Cohort is vars(generated.models)["Cohort"]


def test_a_wrong_name_is_an_attribute_error(generated: Package) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Flagg'"):
        _ = generated.models.Flagg


def test_every_module_names_what_it_defines(generated: Package) -> None:
    for path, text in generated.set.files.items():
        module = path.removeprefix("models/").removesuffix(".py").replace("/", ".")
        tree = ast.parse(text)
        defined = {n.name for n in tree.body if isinstance(n, ast.ClassDef)} | {
            n.target.id
            for n in tree.body
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
        expected = {name for name, where in generated.set.exports.items() if where == module}
        if not path.endswith("__init__.py"):
            assert defined == expected


def test_types_are_defined_before_they_are_needed() -> None:
    schemas = {
        "A": obj(b=ref("B")),
        "B": obj(c=ref("C")),
        "C": {"type": "array", "items": ref("D")},
        "D": obj(e=ref("E"), back=ref("F")),
        "E": {"type": "string", "enum": ["x"]},
        "F": {"anyOf": [ref("D"), {"type": "integer"}]},
    }
    tree = ast.parse(build(schemas).files["models/things.py"])
    types = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.AnnAssign)]
    order = [n.name if isinstance(n, ast.ClassDef) else ast.unparse(n.target) for n in types]
    assert order == ["E", "D", "F", "C", "B", "A"]


def test_models_of_many_query_nodes_share_a_module() -> None:
    nodes = {f"Node{n}": obj(common=ref("Common"), few=ref("Few")) for n in range(21)}
    schemas: dict[str, Any] = {
        **nodes,
        "Other": obj(common=ref("Common")),
        "Pair1": obj(two=ref("Two")),
        "Pair2": obj(two=ref("Two")),
        "Common": obj(x=TEXT),
        "Few": obj(x=TEXT),
        "Two": obj(x=TEXT),
    }
    variants = [ref(name) for name in schemas if name not in ("Common", "Few", "Two")]
    schemas["QueryRequest"] = obj(query={"anyOf": variants})
    where = build(schemas, users={"QueryRequest": frozenset({"query"})}).exports
    assert where["Common"] == where["Few"] == "query.common"
    assert where["Two"] == "query.two"
    assert where["Node7"] == "query.node7"


def test_shared_modules_are_named_after_models_without_numbers() -> None:
    schemas: dict[str, Any] = {
        "A": obj(color=ref("Color"), part=ref("Part1")),
        "B": obj(state=ref("State"), part=ref("Part1")),
        "C": obj(state=ref("State"), color=ref("Color")),
        "Color": {"type": "string", "enum": ["red"]},
        "State": {"type": "string", "enum": ["on", "off"]},
        "Part1": obj(more=ref("More")),
        "More": obj(x=TEXT),
    }
    users = {name: frozenset({name.lower()}) for name in "ABC"}
    where = build(schemas, users=users).exports
    # `Color` is used by a and c, `State` by b and c: two groups that hold no model.
    assert (where["State"], where["Color"]) == ("shared.enums", "shared.enums")
    assert where["Part1"] == where["More"] == "shared.more"


def test_type_checkers_see_every_name(generated: Package) -> None:
    tree = ast.parse(generated.set.files["models/__init__.py"])
    twin = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(twin.test) == "TYPE_CHECKING"
    imports = [node for node in twin.body if isinstance(node, ast.ImportFrom)]
    assert {alias.asname: node.module for node in imports for alias in node.names} == (
        generated.set.exports
    )


def test_every_file_starts_with_the_banner(generated: Package) -> None:
    assert {text.splitlines()[0] for text in generated.set.files.values()} == {BANNER}
    assert all("model_rebuild" not in text for text in generated.set.files.values())


def test_modules_are_imported_lazily(tmp_path: Path) -> None:
    generated = package(SCHEMAS, tmp_path, **OPTIONS)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {generated.name}.models as m\n"
        "before = [n for n in sys.modules if n.startswith(m.__name__ + '.')]\n"
        "m.Flag\n"
        "print(before, sorted(n[len(m.__name__) + 1:] for n in sys.modules"
        " if n.startswith(m.__name__ + '.')))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[] ['flags', 'shared', 'shared.user']"


def test_other_roots_may_form_the_query_package(tmp_path: Path) -> None:
    generated = package(SCHEMAS, tmp_path, query_roots=frozenset({"Flag"}), **OPTIONS)
    assert generated.set.exports["Flag"] == "query.flag"
    assert generated.set.exports["User"] == "query.user"
    assert generated.set.exports["HogQLQuery"] == "shared.date_range"


def test_query_root_need_not_be_a_model() -> None:
    nodes = {"HogQLQuery": frozenset({"query!request"})}
    where = build(SCHEMAS, users=nodes).exports
    assert where == {"HogQLQuery": "query.hogql_query", "DateRange": "query.date_range"}


def test_the_order_of_the_document_changes_nothing() -> None:
    backwards = dict(reversed(SCHEMAS.items()))
    again = build(backwards, **OPTIONS)
    assert again.files == build(SCHEMAS, **OPTIONS).files


def test_counts(generated: Package) -> None:
    counts = generated.set.statistics
    assert (counts.models, counts.enums, counts.aliases) == (13, 2, 0)
    assert (counts.typed, counts.untyped) == (18, 0)


def test_modules_of_families_that_sound_alike(tmp_path: Path) -> None:
    users = {
        "A": frozenset({"flags!request"}),
        "B": frozenset({"flags_requests"}),
        "C": frozenset({"shared"}),
        "D": frozenset({"query"}),
    }
    schemas = {name: obj(x=NUMBER) for name in users}
    generated = package(schemas, tmp_path, users=users)
    assert generated.set.exports == {
        "A": "flags_requests",
        "B": "flags_requests_2",
        "C": "shared_models",
        "D": "query_models",
    }
    assert generated.read("B", {"x": 1}).x == 1


def test_descriptions_become_short_docstrings(tmp_path: Path) -> None:
    schemas = {
        "A": {**obj(x=TEXT), "description": "A flag.\nOn two lines.\n\n* a list\n* of values"},
        "B": {**obj(x=TEXT), "description": "word " * 100},
        "C": obj(x=TEXT),
    }
    generated = package(schemas, tmp_path)
    assert generated.A.__doc__ == "A flag. On two lines."
    assert len(inspect.getdoc(generated.B) or "") < 250
    assert inspect.cleandoc(generated.B.__doc__).endswith("word …")
    assert generated.C.__dict__.get("__doc__") is None


def test_an_empty_document_makes_an_empty_package(tmp_path: Path) -> None:
    generated = package({}, tmp_path)
    assert generated.models.__all__ == []
    assert list(generated.set.files) == ["models/__init__.py"]
