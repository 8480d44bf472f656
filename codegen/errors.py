"""Errors of generation."""

from __future__ import annotations

from collections.abc import Iterable

from codegen.findings import Finding

__all__ = ["GenerationError"]


class GenerationError(ValueError):
    """The document is readable, but no code can be made of it until an override mends it.

    All problems found are reported together, one a line: JSON pointer, then reason.
    """

    def __init__(self, problems: Iterable[Finding]) -> None:
        self.problems = tuple(sorted(set(problems)))
        """Everything found, sorted by pointer."""
        lines = [f"  {problem.pointer}: {problem.reason}" for problem in self.problems]
        heading = f"{len(lines)} problem(s) to mend in openapi/overrides.yaml:"
        super().__init__("\n".join([heading, *lines]))
