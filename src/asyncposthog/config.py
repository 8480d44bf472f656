"""Settings of a client, from arguments and the environment, and their validation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast, final
from uuid import UUID

from .errors import ConfigurationError
from .hosts import Hosts, region_hosts, resolve_host
from .types import KeyKind

__all__ = [
    "RESERVED_HEADERS",
    "RETRY_STATUSES",
    "Secret",
    "Settings",
    "missing_key_error",
    "replace_settings",
    "resolve_settings",
    "validate_option",
]

RETRY_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
"""The error statuses that calls of the REST API retry."""
_KEY_KINDS: Final[dict[str, KeyKind]] = {
    "phx_": "personal",
    "phc_": "project",
    "phs_": "project_secret",
    "pha_": "oauth",
}


@final
class Secret:
    """An API key. Text representations show its prefix only; `reveal()` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Keep the key."""
        self._value = value

    def reveal(self) -> str:
        """Return the key. Do not log it."""
        return self._value

    @property
    def kind(self) -> KeyKind:
        """The kind of the key, by its prefix."""
        return _KEY_KINDS.get(self._value[:4], "unprefixed")

    def __str__(self) -> str:
        """Return the prefix of the key."""
        return f"{self._value[:4]}***" if self.kind != "unprefixed" else "***"

    def __repr__(self) -> str:
        """Return the prefix of the key."""
        return f"Secret({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether the keys are equal."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Return the hash of the key."""
        return hash(self._value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise an error: a pickle would contain the key.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a Secret cannot be pickled: it would be written in clear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a client. The `repr` shows no key."""

    api_key: Secret
    """The project token, if there is no other key: see `token_only`."""
    hosts: Hosts
    project_id: int | None = None
    organization_id: str | None = None
    project_api_key: Secret | None = None
    timeout: float | None = 60.0
    """Seconds for one attempt; None: no limit."""
    deadline: float | None = None
    """Seconds for a whole call; None: no limit."""
    max_retries: int = 3
    max_retry_after: float = 120.0
    """The longest wait, in seconds, that the server may request."""
    max_response_bytes: int | None = 512 * 1024 * 1024
    """Maximum size of a response body, decompressed; None: no limit."""
    strict: bool = False
    read_only: bool = False
    allow: tuple[str, ...] | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def host(self) -> str:
        """The base URL of the REST API."""
        return self.hosts.app

    @property
    def token_only(self) -> bool:
        """Whether there is no key but the project token, which the REST API does not accept."""
        return self.api_key == self.project_api_key


def resolve_settings(arguments: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Return the settings of arguments and an environment. Arguments take precedence.

    Args:
        arguments: The fields of `Settings`, plus `region`, `host` and `allow_http`. None means that
            the argument was not passed.
        environ: The environment variables.

    Raises:
        ConfigurationError: A setting is missing, invalid, or contradicts another one.
        TypeError: An argument is of the wrong type.
    """
    options = dict(arguments)
    hosts = _resolve_hosts(options, environ)
    variables_used: dict[str, str] = {}
    for name, variables in _VARIABLES.items():
        if options.get(name) is None:
            variable = next((v for v in variables if environ.get(v)), None)
            options[name] = None if variable is None else environ[variable]
            variables_used[name] = variable or ""
    token_only = options["api_key"] is None and options["project_api_key"] is not None
    if token_only:
        del options["api_key"]
    elif options["api_key"] is None:
        raise missing_key_error(hosts)
    values: dict[str, Any] = {}
    for name, value in options.items():
        try:
            values[name] = validate_option(name, value)
        except ConfigurationError as error:
            if name not in variables_used:
                raise
            raise _error_from_env(variables_used[name], error) from None
    if token_only:
        values["api_key"] = values["project_api_key"]
    return Settings(hosts=hosts, **values)


def missing_key_error(hosts: Hosts) -> ConfigurationError:
    """Return the error for a client without an API key."""
    return ConfigurationError(
        "No API key was given.",
        suggestion=(
            "Pass api_key= or set POSTHOG_PERSONAL_API_KEY. "
            f"Personal API keys are made at {hosts.app}/settings/user-api-keys."
        ),
    )


def _error_from_env(name: str, error: ConfigurationError) -> ConfigurationError:
    """Return an error for a setting from the environment, with the name of the variable."""
    return ConfigurationError(
        f"{name} in the environment: {error.message}", suggestion=error.suggestion
    )


def replace_settings(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """Return settings with some fields replaced and validated."""
    values = {name: validate_option(name, value) for name, value in changes.items()}
    return replace(settings, **values)


_VARIABLES: Final = {
    "api_key": ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY"),
    "project_id": ("POSTHOG_PROJECT_ID",),
    "project_api_key": ("POSTHOG_PROJECT_API_KEY",),
    "organization_id": ("POSTHOG_ORGANIZATION_ID",),
}


_HOST_VARIABLES: Final = ("POSTHOG_HOST", "POSTHOG_API_URL")


def _resolve_hosts(options: dict[str, object], environ: Mapping[str, str]) -> Hosts:
    """Remove `region`, `host` and `allow_http` from the arguments; return the hosts."""
    region, host = options.pop("region", None), options.pop("host", None)
    allow_http = _bool("allow_http", options.pop("allow_http", False))
    if host is None and region is None:
        variable = next((v for v in _HOST_VARIABLES if environ.get(v)), None)
        if variable is not None:
            try:
                return resolve_host(environ[variable], allow_http=allow_http)
            except ConfigurationError as error:
                raise _error_from_env(variable, error) from None
    if host is None:
        return region_hosts("us" if region is None else region)
    hosts = resolve_host(host, allow_http=allow_http)
    if region is not None and region_hosts(region) != hosts:
        raise ConfigurationError(
            f"region={region!r} and host={host!r} contradict each other.",
            suggestion="Give one of them.",
        )
    return hosts


def validate_option(name: str, value: object) -> Any:
    """Return the validated value of one field of `Settings`."""
    return _VALIDATORS[name](name, value)


def _bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    return value


def _int(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ConfigurationError(f"{name} must be 0 or more, not {value}.")
    return value


def _optional_int(name: str, value: object) -> int | None:
    return None if value is None else _int(name, value)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds as a number, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        raise ConfigurationError(f"{name} is a number too large for seconds.") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ConfigurationError(f"{name} must be 0 seconds or more, and finite, not {seconds}.")
    return seconds


def _optional_seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    seconds = _seconds(name, value)
    if seconds == 0:
        raise ConfigurationError(f"{name} must be more than 0 seconds; None means no limit.")
    return seconds


_KEY_PATTERN = re.compile(r"[!-~]+")


def _secret(name: str, value: object) -> Secret:
    if isinstance(value, Secret):
        value = value.reveal()
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ConfigurationError(f"{name} is empty.", suggestion=f"Leave {name} out, or fill it.")
    if value.lower().startswith("bearer "):
        raise ConfigurationError(
            f"{name} begins with 'Bearer'.", suggestion="Give the key alone, without that word."
        )
    if not _KEY_PATTERN.fullmatch(value):
        raise ConfigurationError(
            f"{name} has spaces, line breaks or characters outside ASCII.",
            suggestion="Copy the key again, whole and without anything around it.",
        )
    return Secret(value)


def _api_key(name: str, value: object) -> Secret:
    secret = _secret(name, value)
    if secret.kind == "project":
        raise ConfigurationError(
            "A project token (phc_) is not an API key: it can only send events and read flags.",
            suggestion=(
                "Pass it as project_api_key, and a personal API key (phx_) as api_key or in "
                "POSTHOG_PERSONAL_API_KEY."
            ),
        )
    return secret


def _project_api_key(name: str, value: object) -> Secret | None:
    if value is None:
        return None
    secret = _secret(name, value)
    if secret.kind not in {"project", "unprefixed"}:
        raise ConfigurationError(
            f"project_api_key takes a project token (phc_); this one begins with {secret}.",
            suggestion="Project tokens are public. Pass a private key as api_key.",
        )
    return secret


def _project_id(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{name} must be the number of a project, not {type(value).__name__}")
    if value == "@current":
        raise ConfigurationError(
            "project_id cannot be '@current', which is whichever project the owner of the key last "
            "opened in the browser.",
            suggestion="Pass the id, or leave it out: it is then looked up once and cached.",
        )
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,18}", value):
        raise ConfigurationError(
            f"project_id must be a number, not {_masked(value)}.",
            suggestion="It is part of the URL of every page: /project/<id>/.",
        )
    number = int(value)
    if number <= 0:
        raise ConfigurationError(f"project_id must be 1 or more, not {number}.")
    return number


def _organization_id(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a UUID, not {type(value).__name__}")
    if value == "@current":
        raise ConfigurationError(
            "organization_id cannot be '@current', which is whichever organization the owner of "
            "the key last opened in the browser.",
            suggestion="Pass the UUID, or leave it out: it is then looked up once and cached.",
        )
    if not re.fullmatch(r"(?i)[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", value):
        raise ConfigurationError(
            f"organization_id must be a UUID, not {_masked(value)}.",
            suggestion="Leave it out to look it up, or get it from organizations.current().",
        )
    return str(UUID(value))


def _masked(value: str) -> str:
    """Return an invalid value for a message, masked if it looks like an API key."""
    return f"a key ({value[:4]}***)" if value[:4] in _KEY_KINDS else repr(value[:80])


def _allow(name: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise TypeError(f"{name} must be a list of patterns such as ['feature_flags.*']")
    patterns = tuple(cast("list[object]", value))
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise TypeError(f"{name} has {pattern!r}, which is not a pattern")
    return cast("tuple[str, ...]", patterns)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
RESERVED_HEADERS: Final = frozenset(
    {"authorization", "host", "content-length", "transfer-encoding"}
)
"""Headers that only the client sets, in lower case."""


def _headers(name: str, value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping of str to str")
    checked: list[tuple[str, str]] = []
    for key, text in cast("Mapping[object, object]", value).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"{name} must be a mapping of str to str")
        if not _HEADER_NAME.fullmatch(key):
            raise ConfigurationError(f"{key!r} is not a header name.")
        if key.lower() in RESERVED_HEADERS:
            raise ConfigurationError(
                f"The header {key} cannot be set: the client sets it.",
                suggestion="For another key pass api_key=; for another host build another client.",
            )
        if not text.isascii() or any(c in text for c in "\r\n\0"):
            raise ConfigurationError(
                f"The header {key} has line breaks or characters outside ASCII."
            )
        checked.append((key, text))
    return tuple(checked)


_VALIDATORS: Final[dict[str, Callable[[str, object], object]]] = {
    "api_key": _api_key,
    "project_id": _project_id,
    "organization_id": _organization_id,
    "project_api_key": _project_api_key,
    "timeout": _optional_seconds,
    "deadline": _optional_seconds,
    "max_retries": _int,
    "max_retry_after": _seconds,
    "max_response_bytes": _optional_int,
    "strict": _bool,
    "read_only": _bool,
    "idempotent": _bool,
    "allow": _allow,
    "headers": _headers,
}
