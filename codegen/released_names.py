"""The file of released names, so that a name once public never moves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from .parsing import load_yaml
from .surface import ReleasedNames, Surface

__all__ = ["dump_names", "load_names", "removed_names"]

_HEADER = """\
# Every public name ever released: methods by the operation they stand for, models by component.
# `make generate` adds to this file and never takes away; `make check` fails when a name here
# would vanish. A name is retired in openapi/overrides.yaml, with its reason.
"""


def load_names(path: Path) -> ReleasedNames:
    """Read the file; one that is missing holds no names."""
    if not path.exists():
        return ReleasedNames({}, {})
    raw = load_yaml(path.read_text(encoding="utf-8"))
    return ReleasedNames(raw.get("methods") or {}, raw.get("models") or {})


def dump_names(released: ReleasedNames, surface: Surface, models: Mapping[str, str]) -> str:
    """Return the file's text with this surface's names added.

    Args:
        released: What the file held.
        surface: The surface just built; its names win over those of the file, but for those
            that no override asks for.
        models: Public model names by component.
    """
    methods = {**released.methods, **surface.released}
    methods |= {operation: released.methods[operation] for operation in surface.renamed}
    classes = {**released.models, **models}
    body = yaml.safe_dump(
        {"methods": dict(sorted(methods.items())), "models": dict(sorted(classes.items()))},
        sort_keys=False,
        width=200,
    )
    return _HEADER + body


def removed_names(
    released: ReleasedNames, surface: Surface, models: Mapping[str, str]
) -> list[str]:
    """List the released names this surface no longer has.

    A method that only changed its name did so by an override, which is how a rename is said.
    """
    removed = [
        f"method {name} ({operation})"
        for operation, name in released.methods.items()
        if operation not in surface.released
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
