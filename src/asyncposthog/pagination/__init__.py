"""Lists that come in pages: `Cursor` and `Page`, whatever style the server has for them."""

from __future__ import annotations

from .cursor import Cursor, cursor
from .page import Page
from .state import PageState
from .walk import Fetch

__all__ = ["Cursor", "Fetch", "Page", "PageState", "cursor"]
