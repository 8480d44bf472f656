"""Read and write `openapi/names.yaml`: every public name that was ever generated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from .parsing import load_yaml
from .surface import ReleasedNames, Surface

__all__ = ["dump_names", "load_names", "removed_names"]

_HEADER = """\
# Every public name ever released: methods by operation, models by component. `make generate`
# only adds to this file, and `make check` fails if a name in it would be removed or renamed.
# Methods are renamed in openapi/overrides.yaml, with a reason.
"""


def load_names(path: Path) -> ReleasedNames:
    """Read the file. A missing file is an empty one."""
    if not path.exists():
        return ReleasedNames({}, {})
    raw = load_yaml(path.read_text(encoding="utf-8"))
    return ReleasedNames(raw.get("methods") or {}, raw.get("models") or {})


def dump_names(released: ReleasedNames, surface: Surface, models: Mapping[str, str]) -> str:
    """Return the file's text with this surface's names added.

    Args:
        released: The names in the file so far.
        surface: The surface just built. Its names replace those in the file if an override
            renames them, and otherwise do not.
        models: Public model names by component.
    """
    methods = {**released.methods, **surface.released}
    # Without an override, a rename is an error: the file keeps the old name, and the check fails.
    methods |= {operation: released.methods[operation] for operation in surface.renamed}
    classes = {**released.models, **models}
    body = yaml.safe_dump(
        {"methods": dict(sorted(methods.items())), "models": dict(sorted(classes.items()))},
        sort_keys=False,
        width=200,  # one entry on each line, for diffs
    )
    return _HEADER + body


def removed_names(
    released: ReleasedNames, surface: Surface, models: Mapping[str, str]
) -> list[str]:
    """Return the released names that this surface no longer has.

    A method that an override renames is not in the list: that is how a rename is declared.
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
