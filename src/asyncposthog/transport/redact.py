"""What logs and exceptions may show.

Keys are recognised by their prefixes, and those of the client by their value, so that an
unprefixed one is found as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

__all__ = ["Redactor", "mask", "mask_target"]

_KEYS: Final = re.compile(
    r"(?<![A-Za-z0-9])(ph[a-z]_)[A-Za-z0-9_-]+|\b(bearer\s+)[^\s\"',;<>]+", re.IGNORECASE
)
_KEYS_IN_BYTES: Final = re.compile(_KEYS.pattern.encode(), re.IGNORECASE)
_SECRET_PARAMETER: Final = re.compile(
    r"(?i)(^|[?&])([^=&?]*(?:token|secret|password|signature|credential|api_?key)[^=&]*)=([^&#]*)"
)

_SHORTEST: Final = 6
"""Characters from which on a value is a secret: shorter ones stand in any text by chance."""


def mask(text: str) -> str:
    """Mask everything that looks like a PostHog key or a bearer token."""
    return _KEYS.sub(lambda m: f"{m[1] or m[2]}***", text)


def mask_target(target: str) -> str:
    """Mask the values of secret-like query parameters of a path, and anything like a key."""
    return mask(_SECRET_PARAMETER.sub(r"\1\2=***", target))


class Redactor:
    """Masks keys by their looks, and the given ones wherever they stand."""

    __slots__ = ("_values",)

    def __init__(self, secrets: Iterable[str]) -> None:
        """Know the secrets, as they are and as a URL or JSON writes them."""
        known = [s for s in secrets if len(s) >= _SHORTEST]
        forms = {form for s in known for form in (s, quote(s, safe=""), json.dumps(s)[1:-1])}
        # The longest first: a short key may be a part of a longer form.
        self._values = tuple(sorted(forms, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """Return the text without keys."""
        for value in self._values:
            text = text.replace(value, _shown(value))
        return mask(text)

    def clean(self, content: bytes) -> bytes:
        """Return the bytes without keys."""
        for value in self._values:
            content = content.replace(value.encode(), _shown(value).encode())
        return _KEYS_IN_BYTES.sub(lambda m: (m[1] or m[2]) + b"***", content)


def _shown(value: str) -> str:
    return f"{value[:4]}***" if value[:3].startswith("ph") and value[3:4] == "_" else "***"
