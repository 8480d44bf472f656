"""Render the `__init__.py` files: of the models, and of a package of its own (`--out`)."""

from __future__ import annotations

from collections.abc import Mapping

from .text import BANNER

__all__ = ["models_init", "package_files", "subpackage_init"]

_HEAD = '''\
"""All models by name, such as `models.FeatureFlag`, imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
'''

# Hidden from type checkers: a module with `__getattr__` has every name for them, so that no
# misspelled model would be found.
_TAIL = """\
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{module}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
"""


def package_files() -> dict[str, str]:
    """Return the root of a package of its own: a client with the resources of its schema."""
    return {
        "__init__.py": f'''{BANNER}
"""A client generated from another schema. It needs `asyncposthog` at run time."""

from __future__ import annotations

from asyncposthog.client import BaseClient

from .resources import Resources

__all__ = ["AsyncPostHog"]


class AsyncPostHog(Resources, BaseClient):
    """A client with the resources of this schema; see `asyncposthog.AsyncPostHog`."""
'''
    }


def models_init(exports: Mapping[str, str]) -> str:
    """Return the text of `models/__init__.py`.

    Args:
        exports: The module below `models` that defines each public name.
    """
    # `X as X` marks a re-export; strict type checkers take a plain import for a private one.
    typed = "\n".join(
        f"    from .{module} import {name} as {name}" for name, module in sorted(exports.items())
    )
    names = ",\n".join(f"    {name!r}" for name in sorted(exports))
    table = ",\n".join(f"    {name!r}: {module!r}" for name, module in sorted(exports.items()))
    parts = [
        f"{BANNER}\n{_HEAD}",
        f"if TYPE_CHECKING:\n{typed or '    pass'}\n",
        f"__all__ = [\n{names},\n]\n" if names else "__all__: list[str] = []\n",
        f"_MODULES: dict[str, str] = {{\n{table}\n}}\n",
        _TAIL,
    ]
    return "\n".join(parts)


def subpackage_init(text: str) -> str:
    """Return the `__init__.py` of a package below `models`, which is only a docstring."""
    return f'{BANNER}\n"""{text}"""\n'
