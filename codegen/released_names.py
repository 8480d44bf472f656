"""Read and write `names.yaml`: every public name that was ever generated.

`openapi/names.yaml` is ours. A package made by `generate --out` has one of its own.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml

from .naming import CLIENT_NAMES, operation_shape
from .parsing import load_yaml
from .surface import ReleasedNames, Surface

__all__ = [
    "dump_names",
    "dump_package_names",
    "load_names",
    "removed_names",
    "with_given_names",
]

_HEADER: Final = """\
# Every public name ever released: methods by operation, models by component. `make generate`
# only adds to this file, and `make check` fails if a name in it would be removed or renamed.
# Methods are renamed in openapi/overrides.yaml, with a reason.
"""
_PACKAGE_HEADER: Final = """\
# Every public name of this package: methods by operation, models by component. The generator
# reads this file before it writes the package again, so that no name changes. Keep it with the
# package. To rename a method or a model, change its name here and generate again.
"""


def load_names(path: Path) -> ReleasedNames:
    """Read the file. A missing file is an empty one.

    Raises:
        ValueError: It is not a file of names, or its names cannot all be used together.
    """
    if not path.exists():
        return ReleasedNames({}, {})
    try:
        raw = cast("Any", load_yaml(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path}: it cannot be read ({error.strerror}). Give a file.") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ValueError(f"{path}: it is not YAML ({first_line}). Fix the file.") from None
    if not isinstance(raw, dict) or raw.keys() - {"methods", "models"}:
        raise ValueError(f"{path}: it is not an object with `methods` and `models`. Fix the file.")
    sections = cast("dict[str, Any]", raw)
    names = ReleasedNames(
        _texts(path, "methods", sections.get("methods")),
        _texts(path, "models", sections.get("models")),
    )
    _check_methods(path, names.methods)
    _check_models(path, names.models)
    return names


def _texts(path: Path, section: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(text, str) for pair in cast("dict[Any, Any]", value).items() for text in pair
    ):
        raise ValueError(f"{path}#/{section}: it is not an object of texts. Fix the file.")
    return cast("dict[str, str]", value)


def _check_methods(path: Path, methods: Mapping[str, str]) -> None:
    used: dict[str, str] = {}
    for operation, name in methods.items():
        where = f"{path}: {operation}"
        parts = name.split(".")
        if len(parts) < 2 or not all(map(_is_identifier, parts)):
            raise ValueError(f"{where}: {name!r} is not a name such as cohorts.list. Change it.")
        if parts[0] in CLIENT_NAMES:
            raise ValueError(f"{where}: the client has an attribute {parts[0]!r}. Change the name.")
        if name in used:
            raise ValueError(f"{where}: {name!r} is the name of {used[name]} too. Change one.")
        used[name] = operation
    for name, operation in used.items():
        parts = name.split(".")
        for length in range(2, len(parts)):
            resource = ".".join(parts[:length])
            if resource in used:
                raise ValueError(
                    f"{path}: {operation}: {name!r} is below {resource!r}, which is the method of "
                    f"{used[resource]}. Change one."
                )


def _check_models(path: Path, models: Mapping[str, str]) -> None:
    used: dict[str, str] = {}
    for component, name in models.items():
        if not _is_identifier(name):
            raise ValueError(f"{path}: {component}: {name!r} is not a class name. Change it.")
        if name in used:
            raise ValueError(
                f"{path}: {component}: {name!r} is the name of {used[name]} too. Change one."
            )
        used[name] = component


def _is_identifier(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def with_given_names(package_names: ReleasedNames, user_names: Mapping[str, str]) -> ReleasedNames:
    """Return the names with those that a user's overrides give in the place of older ones."""
    shapes = {operation_shape(operation) for operation in user_names}
    methods = {
        k: name for k, name in package_names.methods.items() if operation_shape(k) not in shapes
    }
    return ReleasedNames({**methods, **user_names}, package_names.models)


def dump_names(released: ReleasedNames, surface: Surface, models: Mapping[str, str]) -> str:
    """Return the text of our file with this surface's names added.

    Args:
        released: The names in the file so far.
        surface: The surface just built. Its names replace those in the file if an override
            renames them, and otherwise do not.
        models: Public model names by component.
    """
    methods = {**released.methods, **surface.released}
    # Without an override, a rename is an error: the file keeps the old name, and the check fails.
    methods |= {operation: released.methods[operation] for operation in surface.renamed}
    return _HEADER + _dump(methods, {**released.models, **models})


def dump_package_names(
    package_names: ReleasedNames, surface: Surface, models: Mapping[str, str]
) -> str:
    """Return the text of a package's file with this surface's names added.

    The names of operations that are gone stay, in case the instance gets them back.
    """
    shapes = {operation_shape(operation) for operation in surface.released}
    gone = {
        k: name for k, name in package_names.methods.items() if operation_shape(k) not in shapes
    }
    return _PACKAGE_HEADER + _dump({**gone, **surface.released}, {**package_names.models, **models})


def _dump(methods: Mapping[str, str], models: Mapping[str, str]) -> str:
    return yaml.dump(
        {"methods": dict(sorted(methods.items())), "models": dict(sorted(models.items()))},
        # The dumper in C is about ten times faster; PyYAML may have been built without it.
        Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
        sort_keys=False,
        width=200,  # one entry on each line, for diffs
    )


def removed_names(
    released: ReleasedNames, surface: Surface, models: Mapping[str, str]
) -> list[str]:
    """Return the released names that this surface no longer has.

    A method that an override renames is not in the list: that is how a rename is declared.
    """
    shapes = {operation_shape(operation) for operation in surface.released}
    removed = [
        f"method {name} ({operation})"
        for operation, name in released.methods.items()
        if operation_shape(operation) not in shapes
    ]
    removed += [
        f"method {released.methods[operation]} ({operation}), which would be called {name}"
        for operation, name in surface.renamed.items()
    ]
    removed += [
        f"model {name} (component {component})"
        for component, name in released.models.items()
        if component not in models
    ]
    return sorted(removed)
