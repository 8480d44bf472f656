"""Fields that are only written: what an object keeps, and no answer shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from asyncposthog.emulator.guards import is_array, is_mapping, is_object
from asyncposthog.emulator.schemas.catalogue import Catalogue, Schema, ref_name

__all__ = ["Concealment"]

Hidden: TypeAlias = "dict[str, Hidden | None]"
"""Fields to leave out (None), and those to look into."""

_DEPTH = 4


class Concealment:
    """Knows what the schemas of a catalogue keep to themselves."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[str, Hidden] = {}

    def without(self, value: Any, schema: Schema) -> Any:
        """A value as an answer may show it; the value itself where there is nothing to hide."""
        key = ref_name(schema) or json.dumps(schema, sort_keys=True)
        hidden = self._known.get(key)
        if hidden is None:
            hidden = self._known[key] = self._hidden(schema, _DEPTH, ())
        return _without(value, hidden) if hidden else value

    def _hidden(self, schema: Any, depth: int, above: tuple[str, ...]) -> Hidden:
        flat = self._catalogue.resolve(schema)
        name = ref_name(schema) if is_mapping(schema) else None
        if name in above or not depth:
            return {}
        above = above if name is None else (*above, name)
        items = flat.get("items")
        if items is not None:
            return self._hidden(items, depth, above)
        hidden: Hidden = {}
        properties: Mapping[str, Schema] = self._catalogue.properties(flat)
        for field, sub in properties.items():
            if sub.get("writeOnly"):
                hidden[field] = None
            else:
                inner = self._hidden(sub, depth - 1, above)
                if inner:
                    hidden[field] = inner
        return hidden


def _without(value: Any, hidden: Hidden) -> Any:
    if is_array(value):
        return [_without(item, hidden) for item in value]
    if not is_object(value):
        return value
    shown: dict[str, Any] = {}
    for name, item in value.items():
        if name not in hidden:
            shown[name] = item
            continue
        inner = hidden[name]
        if inner is not None:
            shown[name] = _without(item, inner)
    return shown
