"""The package's own `__init__.py`: every name, loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.render.header import BANNER

__all__ = ["render_package", "render_subpackage"]

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


def render_package(exports: Mapping[str, str]) -> str:
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


def render_subpackage(text: str) -> str:
    """Print the `__init__.py` of a package below `models`, which holds nothing but a docstring."""
    return f'{BANNER}\n"""{text}"""\n'
