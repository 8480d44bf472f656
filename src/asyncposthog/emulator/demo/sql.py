"""The SQL beside this module, with the demo's words put in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from asyncposthog.emulator.demo import vocabulary

__all__ = ["statements"]


def statements(name: str, values: Mapping[str, object]) -> list[str]:
    """The statements of a file.

    Args:
        name: `macros`, `visitors`, `sessions`, `events` or `people`.
        values: Numbers and expressions, ours all of them, to put in place of `@these@`.
    """
    text = _text(name)
    for word, value in values.items():
        text = text.replace(f"@{word}@", str(value))
    return [statement for statement in text.split(";\n") if statement.strip()]


@cache
def _text(name: str) -> str:
    text = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    for word, texts in vocabulary.LISTS.items():
        text = text.replace(f"@{word}@", _array(texts)).replace(f"@n_{word}@", str(len(texts)))
    offsets = ", ".join(str(offset) for offset, _ in vocabulary.PLACES)
    return text.replace("@offsets@", f"[{offsets}]")


def _array(texts: Iterable[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"
