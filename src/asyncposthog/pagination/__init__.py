"""Lists that come in pages: `Cursor` and `Page`, whatever style the server has for them."""

from __future__ import annotations

from .cursor import Cursor, cursor
from .page import Page
from .paginator import Fetch
from .state import PageState

__all__ = ["Cursor", "Fetch", "Page", "PageState", "cursor"]
