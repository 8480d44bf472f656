"""Many checks inside one test: all of them run, and their failures are raised together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType

import pytest

__all__ = ["SoftAssertions"]


class SoftAssertions:
    """Collects failures, and raises them as one `ExceptionGroup` at the end of the block.

    A test function for each of a thousand operations costs more in pytest than in the checks, so
    they loop inside one function, and this keeps one failure from hiding the others:

        with SoftAssertions() as soft:
            for operation in operations:
                with soft.case(operation.id):
                    assert operation.scopes
    """

    def __init__(self) -> None:
        self.cases = 0
        self._failures: list[Exception] = []

    @contextmanager
    def case(self, name: str) -> Generator[None]:
        """Note the failure of one check, with the name of what it looked at."""
        self.cases += 1
        try:
            yield
        except (Exception, pytest.fail.Exception) as failure:
            # What `pytest.raises` raises is no Exception, which a group consists of.
            error = failure if isinstance(failure, Exception) else AssertionError(str(failure))
            error.add_note(f"The check of {name} failed.")
            self._failures.append(error)

    def __enter__(self) -> SoftAssertions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self._failures:
            message = f"{len(self._failures)} of {self.cases} checks failed"
            raise ExceptionGroup(message, self._failures)
