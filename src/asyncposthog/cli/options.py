"""Options that several commands share, and groups of options that are declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from .completion import complete_parameter, complete_resource

__all__ = ["Ids", "Param", "Resource", "expand_groups"]

Resource = Annotated[
    str,
    typer.Argument(
        help="As in `asyncposthog resources`: cohorts, …", autocompletion=complete_resource
    ),
]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids, if the path takes any.")]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="Query parameter.",
        autocompletion=complete_parameter,
    ),
]


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameters that are dataclasses are replaced by their fields.

    Typer reads the options of a command from its signature, and has no groups of options.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []

    def add(name: str, annotation: Any, default: Any) -> None:
        # Keyword-only: a group of optional fields may come before a parameter without a default.
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))

    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            add(name, hints[name], parameter.default)
            continue
        field_hints = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            add(field.name, field_hints[field.name], default)

    @wraps(command)
    def run(**values: Any) -> None:
        arguments = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **arguments)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
