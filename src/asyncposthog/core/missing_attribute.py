"""The error for an attribute that the client or a resource does not have."""

from __future__ import annotations

from typing import Final

__all__ = ["MissingAttributeError"]

_MAX_NAMES: Final = 4


class MissingAttributeError(AttributeError):
    """Raised for an attribute that does not exist; its text suggests what does.

    The suggestions are looked for when the text is asked for: `hasattr` needs none.
    """

    def __init__(self, owner: object, name: str) -> None:
        """Keep the class of the owner and the name that was asked for."""
        super().__init__(name)
        self._owner, self._name = type(owner), name

    def __str__(self) -> str:
        """Return what is missing, and what may have been meant."""
        from difflib import get_close_matches  # imported for errors only

        from asyncposthog.catalog.search import near_matches

        owner, name = self._owner, self._name
        public = [attribute for attribute in dir(owner) if not attribute.startswith("_")]
        own = get_close_matches(name, public, n=2)
        own += [n for n in public if n not in own and (name in n or n in name)]
        module, _, family = owner.__module__.rpartition(".")
        words = name if family == "client" else f"{family}.{name}"
        ids = near_matches(words) if module in {"asyncposthog", "asyncposthog.resources"} else []
        names = [f".{n}" for n in own] + [f"ph.{operation}" for operation in ids]
        hint = f" Did you mean {', '.join(names[:_MAX_NAMES])}?" if names else ""
        return f"{owner.__name__} has no attribute {name!r}.{hint}"
