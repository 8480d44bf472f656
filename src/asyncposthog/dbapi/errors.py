"""The exceptions of PEP 249, and which of them a PostHog error is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from asyncposthog import errors

__all__ = [
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Warning",
    "translated_errors",
]


class Warning(Exception):  # noqa: A001
    """A warning. It is never raised."""


class Error(Exception):
    """The base class of all errors. The `PostHogError` behind it is its `__cause__`."""


class InterfaceError(Error):
    """A connection or a cursor is used in a way that is not possible, for example after closing."""


class DatabaseError(Error):
    """The base class of errors of a statement or of the server."""


class DataError(DatabaseError):
    """A value does not have the type of its column."""


class OperationalError(DatabaseError):
    """The server cannot be reached, refuses the key, or cannot run the query now."""


class IntegrityError(DatabaseError):
    """It is never raised: nothing is written."""


class InternalError(DatabaseError):
    """It is never raised."""


class ProgrammingError(DatabaseError):
    """The statement or its parameters are wrong."""


class NotSupportedError(DatabaseError):
    """PostHog cannot do this: statements that write, OFFSET, `executemany`."""


@contextmanager
def translated_errors() -> Generator[None]:
    """Raise the errors of the client as those of PEP 249.

    Raises:
        Error: The client raised an error.
    """
    try:
        yield
    except errors.QueryTooLargeError as error:
        raise OperationalError(str(error)) from error
    except (errors.QueryError, errors.ValidationError) as error:
        raise ProgrammingError(str(error)) from error
    except errors.ClosedError as error:
        raise InterfaceError("the connection is closed, or the statement was cancelled") from error
    except errors.DecodeError as error:
        raise DataError(str(error)) from error
    except errors.PostHogError as error:
        raise OperationalError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise ProgrammingError(str(error)) from error
