"""Paginated lists: `Cursor` and `Page`, for every pagination style of the server."""

from __future__ import annotations

from .cursor import Cursor, cursor
from .page import Page
from .paginator import Fetch
from .state import PageState

__all__ = ["Cursor", "Fetch", "Page", "PageState", "cursor"]
