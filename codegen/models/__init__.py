"""The model stage: a package of pydantic models for the components of a document.

`build_models` checks the document (`check`), lets datamodel-code-generator type a document of
tokens (`prepare`, `dcg`), divides the types among modules (`split`) and renders them (`render`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from codegen.diagnostics import GenerationError
from codegen.render.package import models_init, subpackage_init

from .check import find_errors, query_nodes, users_of_components
from .dcg import annotate
from .deferral import deferred_unions
from .ir import Kind, ModelPlan, ModelSet, Statistics
from .prepare import prepare
from .render import render_module
from .split import split
from .types import NamedType, is_untyped, type_shapes

__all__ = ["GenerationError", "ModelPlan", "ModelSet", "Statistics", "build_models"]

_SUBPACKAGES = {
    "query": "Query nodes of HogQL and insights, and their responses.",
    "shared": "Models shared by several resources.",
}


def build_models(plan: ModelPlan) -> ModelSet:
    """Generate the models of a document.

    Raises:
        GenerationError: Two properties or components have the same Python name, a default
            contradicts its schema, or a reference leads nowhere. It lists all such errors.
    """
    users = users_of_components(plan)
    errors = find_errors(plan, users)
    if errors:
        raise GenerationError(errors)
    # Later steps rely on a document without these errors, and would fail with obscure ones.
    prepared = prepare(plan, users)
    types = type_shapes(prepared.shapes, annotate(prepared.document))
    deferred = deferred_unions(types)
    modules = split(types, users, query_nodes(plan, users))
    exports = {name: module.path for module in modules for name in module.names}
    files = {
        f"models/{module.path.replace('.', '/')}.py": render_module(
            module, types, exports, plan.package, plan.docs, deferred
        )
        for module in modules
    }
    files["models/__init__.py"] = models_init(exports)
    for package, text in _SUBPACKAGES.items():
        if any(module.path.startswith(f"{package}.") for module in modules):
            files[f"models/{package}/__init__.py"] = subpackage_init(text)
    return ModelSet(
        files=dict(sorted(files.items())),
        exports=dict(sorted(exports.items())),
        kinds={name: _kind(named_type) for name, named_type in types.items()},
        statistics=_count(types),
        diagnostics=prepared.diagnostics,
    )


def _kind(named_type: NamedType) -> Kind:
    if named_type.shape.kind == "model":
        return "model"
    return "enum" if named_type.shape.kind == "enum" else "alias"


def _count(types: Mapping[str, NamedType]) -> Statistics:
    kinds = Counter(_kind(named_type) for named_type in types.values())
    fields = [
        named_type.annotations[field.token]
        for named_type in types.values()
        if named_type.shape.kind == "model"
        for field in named_type.shape.fields
    ]
    untyped = sum(is_untyped(annotation) for annotation in fields)
    return Statistics(
        models=kinds["model"],
        enums=kinds["enum"],
        aliases=kinds["alias"],
        typed=len(fields) - untyped,
        untyped=untyped,
    )
