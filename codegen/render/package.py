"""Printing what makes a generated set a package of its own, for `--out`."""

from __future__ import annotations

from collections.abc import Mapping

from .text import BANNER

__all__ = ["models_init", "package_files", "subpackage_init"]

_HEAD = '''\
"""Every model, by name: `models.FeatureFlag`. A module is loaded when one of its names is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
'''

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
    """Print the package's root: a client of this schema."""
    return {
        "__init__.py": f'''{BANNER}
"""A client generated from another schema, on the runtime of `asyncposthog`."""

from __future__ import annotations

from asyncposthog.client import BaseClient

from .resources import Resources

__all__ = ["AsyncPostHog"]


class AsyncPostHog(Resources, BaseClient):
    """A client with the resources of this schema; see `asyncposthog.AsyncPostHog`."""
'''
    }


def models_init(exports: Mapping[str, str]) -> str:
    """Print `models/__init__.py`.

    Args:
        exports: The module below `models` each public name lives in.
    """
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
    """Print the `__init__.py` of a package below `models`, which holds nothing but a docstring."""
    return f'{BANNER}\n"""{text}"""\n'
