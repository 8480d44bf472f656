"""Read the data files of this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["data_lines", "sections"]


def data_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, without empty lines and comments."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


def sections(path: Path) -> dict[str, list[str]]:
    """Return the lines of each section of a file, by the title in brackets above it."""
    lines_by_title: dict[str, list[str]] = {}
    title = ""
    for line in data_lines(path):
        if line.startswith("["):
            title = line.strip("[]")
            lines_by_title[title] = []
        else:
            lines_by_title[title].append(line)
    return lines_by_title
