"""Call datamodel-code-generator and read the annotations it generates."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from datamodel_code_generator import InputFileType, OpenAPIScope, PythonVersion, generate
from datamodel_code_generator.enums import DataModelType
from datamodel_code_generator.format import DatetimeClassType, Formatter

from codegen.json_schema import references

__all__ = ["Annotations", "annotate", "flatten", "join", "read_annotations"]

PRESET = "standard-py311-20261027"
"""A dated preset: it does not change when the defaults of the generator do."""
_CLASS: Final = "Group"
_FIELD: Final = "field"
_TARGET: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
_CLASS_SIZE: Final = 50
"""Properties in one class of the document that the generator gets."""


def annotate(document: Mapping[str, Any]) -> Annotations:
    """Return the annotation of every property in a document of tokens.

    The annotation of a property depends on its schema and on whether it is required, and on nothing
    else: what it refers to is always an object. So each different schema is passed to the generator
    once, and the objects that are referred to are passed on without properties. This takes a third
    of the time.

    Returns:
        Annotations by property token, by type token.
    """
    bodies: Mapping[str, Mapping[str, Any]] = document["components"]["schemas"]
    keys = {
        (token, name): json.dumps([name in body.get("required", ()), schema])
        for token, body in bodies.items()
        for name, schema in body.get("properties", {}).items()
    }
    places = {
        key: divmod(number, _CLASS_SIZE) for number, key in enumerate(dict.fromkeys(keys.values()))
    }
    classes: dict[str, dict[str, Any]] = {}
    for key, (number, field) in places.items():
        required, schema = json.loads(key)
        body = classes.setdefault(
            f"{_CLASS}{number}", {"type": "object", "properties": {}, "required": []}
        )
        body["properties"][f"{_FIELD}{field}"] = schema
        if required:
            body["required"].append(f"{_FIELD}{field}")
    targets = {name for body in classes.values() for name in references(body)}
    schemas: dict[str, Any] = dict.fromkeys(sorted(targets), _TARGET)
    schemas |= classes
    annotations: Annotations = {}
    if classes:
        annotations = _generate({**document, "components": {"schemas": schemas}})
    result: dict[str, dict[str, ast.expr]] = {token: {} for token in bodies}
    for (token, name), key in keys.items():
        number, field = places[key]
        # A copy, because later steps change the nodes.
        result[token][name] = copy.deepcopy(annotations[f"{_CLASS}{number}"][f"{_FIELD}{field}"])
    return result


def _generate(document: Mapping[str, Any]) -> Annotations:
    source = generate(
        document,
        input_file_type=InputFileType.OpenAPI,
        output_model_type=DataModelType.PydanticV2BaseModel,
        preset=PRESET,
        target_python_version=PythonVersion.PY_311,
        openapi_scopes=[OpenAPIScope.Schemas],
        formatters=[Formatter.BUILTIN],
        base_class="model.Model",
        output_datetime_class=DatetimeClassType.Datetime,
        use_annotated=True,
        disable_timestamp=True,
        strict_refs=True,
    )
    if not isinstance(source, str):
        raise TypeError("datamodel-code-generator did not return a single module")
    return read_annotations(source)


Annotations: TypeAlias = Mapping[str, Mapping[str, ast.expr]]


def read_annotations(source: str) -> dict[str, dict[str, ast.expr]]:
    """Return the annotations in generated source, by class and field.

    Raises:
        ValueError: The source has something other than imports and plain classes.
    """
    classes: dict[str, dict[str, ast.expr]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            classes[node.name] = dict(_fields(node))
        elif not isinstance(node, ast.ImportFrom | ast.Expr):
            raise ValueError(f"line {node.lineno}: unexpected {type(node).__name__}")
        elif isinstance(node, ast.Expr) and not _is_rebuild(node.value):
            raise ValueError(f"line {node.lineno}: unexpected expression")
    return classes


def _is_rebuild(node: ast.expr) -> bool:
    """Whether it is `X.model_rebuild()`, which is dropped: it would build models twice."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "model_rebuild"
    )


def _fields(node: ast.ClassDef) -> list[tuple[str, ast.expr]]:
    fields: list[tuple[str, ast.expr]] = []
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields.append((statement.target.id, _validated(_without_field(statement.annotation))))
        elif not isinstance(statement, ast.Assign | ast.Pass):
            raise ValueError(f"line {statement.lineno}: unexpected {type(statement).__name__}")
    return fields


def _without_field(annotation: ast.expr) -> ast.expr:
    """Unwrap `Annotated[T, Field(...)]`, which the generator writes around null."""
    if (
        isinstance(annotation, ast.Subscript)
        and isinstance(annotation.value, ast.Name)
        and annotation.value.id == "Annotated"
        and isinstance(annotation.slice, ast.Tuple)
    ):
        return annotation.slice.elts[0]
    return annotation


def _validated(annotation: ast.expr) -> ast.expr:
    allowed_nodes = (
        ast.Name,
        ast.Subscript,
        ast.Tuple,
        ast.BinOp,
        ast.BitOr,
        ast.Load,
    )
    # Only these nodes can be in a type. Anything else could run code when a model is imported.
    for node in ast.walk(annotation):
        is_none = isinstance(node, ast.Constant) and node.value is None
        if not is_none and not isinstance(node, allowed_nodes):
            raise ValueError(f"unexpected {type(node).__name__} in {ast.unparse(annotation)}")
    return annotation


def flatten(annotation: ast.expr) -> list[ast.expr]:
    """Return the members of a union written with `|`, at any nesting."""
    if isinstance(annotation, ast.BinOp):
        return [*flatten(annotation.left), *flatten(annotation.right)]
    return [annotation]


def join(members: list[ast.expr]) -> ast.expr:
    """Return a union of unique members, or `Any` if it is a member."""
    unique = list({ast.dump(member): member for member in members}.values())
    if any(isinstance(member, ast.Name) and member.id == "Any" for member in unique):
        return ast.Name("Any", ast.Load())
    new_component_name = unique[0]
    for member in unique[1:]:
        new_component_name = ast.BinOp(new_component_name, ast.BitOr(), member)
    return new_component_name
