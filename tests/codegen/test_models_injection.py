"""A schema is untrusted input: none of its strings may become code."""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codegen.diagnostics import GenerationError
from codegen.models import ModelSet
from codegen.models.dcg import read_annotations

from .model_helpers import build, obj, package, ref

PAYLOADS = [
    '"',
    "'",
    '"""',
    "'''",
    "\\",
    '\\"',
    "\\N{DIGIT ONE}",
    '"""\nimport os\nos.abort()\n"""',
    "'] = __import__('os').abort()\nx: Literal['",
    "{__import__('os').abort()}",
    "%s {0} $x {{ x }} {% raw %}",
    "#\n\r\t\x00\x1b\u2028\u202e",
    "x\n    model_config = None",
    "@Any",
    "T0",
    "f0",
]
HOSTILE = st.one_of(
    st.sampled_from(PAYLOADS),
    st.text(max_size=30),
    st.builds("{}{}{}".format, st.sampled_from(PAYLOADS), st.text(max_size=8), st.just("x")),
)
STATEMENTS = (ast.ImportFrom, ast.ClassDef, ast.AnnAssign, ast.Assign, ast.Expr, ast.Pass)
CALLS = {"Field", "TypeAliasType"}
HOMES = {"__future__", "typing", "typing_extensions", "pydantic", "datetime", "uuid", "builtins"}


def check(models: ModelSet) -> None:
    """Check that modules have declarations only."""
    for path, text in models.files.items():
        if path.endswith("__init__.py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.stmt):
                assert isinstance(node, STATEMENTS), ast.unparse(node)
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant)
            if isinstance(node, ast.Call):
                assert isinstance(node.func, ast.Name)
                assert node.func.id in CALLS
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module in HOMES | {"asyncposthog.model"}


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "print()",
        "x = 1",
        "class T0:\n    f0: print()",
        "class T0:\n    f0: 'T0'",
        "class T0:\n    f0: (lambda: 1)",
        "class T0:\n    def f0(self): ...",
    ],
)
def test_read_annotations_refuses_other_code(source: str) -> None:
    with pytest.raises(ValueError, match="unexpected"):
        read_annotations(source)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(HOSTILE, min_size=1, max_size=4, unique=True), text=HOSTILE)
@example(values=PAYLOADS, text='"""')
def test_values_and_descriptions(values: list[str], text: str) -> None:
    enum = {"type": "string", "enum": values, "description": text}
    tag = {"const": values[0], "type": "string"}
    schemas: dict[str, Any] = {
        "Choice": enum,
        "Thing": {
            **obj("tag", choice=ref("Choice"), inline=enum, tag=tag),
            "description": text,
            "title": text,
            "format": text,
        },
        "Other": obj("tag", tag={"const": values[0] + "x", "type": "string"}),
        "Union": {"anyOf": [ref("Thing"), ref("Other")], "description": text},
    }
    models = build(schemas)
    check(models)
    with tempfile.TemporaryDirectory() as folder:
        generated = package(schemas, Path(folder))
        assert list(get_args(generated.Choice)) == values
        assert generated.Thing().tag == values[0]
        for value in values:
            assert generated.Thing(inline=value, choice=value).inline == value


@settings(max_examples=25, deadline=None)
@given(names=st.lists(HOSTILE, min_size=1, max_size=4, unique=True))
@example(names=PAYLOADS[-3:])
def test_property_names(names: list[str]) -> None:
    schemas = {"Thing": obj(*names, **{wire: {"type": "string"} for wire in names})}
    field_names: dict[str, str] = {}
    try:
        check(build(schemas))
    except GenerationError:  # names that leave nothing, or the same, to call a field by
        field_names = {f"Thing.{wire}": f"chosen{index}" for index, wire in enumerate(names)}
        check(build(schemas, field_names=field_names))
    with tempfile.TemporaryDirectory() as folder:
        generated = package(schemas, Path(folder), field_names=field_names)
        data = {wire: str(index) for index, wire in enumerate(names)}
        thing = generated.Thing.model_validate(data)
        assert thing.model_dump(by_alias=True) == data


@settings(max_examples=20, deadline=None)
@given(name=HOSTILE, text=HOSTILE)
@example(name="A/B~C", text="x")
def test_component_names_and_what_refers_to_them(name: str, text: str) -> None:
    schemas = {
        name: {**obj(x={"type": "string"}), "description": text},
        "Holder!": obj(x=ref(name), y={"anyOf": [ref(name), ref("Holder!")]}),
    }
    if name == "Holder!":
        return
    models = build(schemas, names={name: "Thing", "Holder!": "Holder"})
    check(models)
    assert set(models.exports) == {"Thing", "Holder"}
