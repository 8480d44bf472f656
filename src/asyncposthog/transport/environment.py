"""Find the invalid environment variable when httpx cannot build a client.

httpx reads proxies and certificates from the environment. Its errors do not name the variable, and
may show the password of a proxy.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Final
from urllib.request import getproxies_environment, proxy_bypass

import httpx

from asyncposthog.errors import ConfigurationError

__all__ = [
    "certificate_settings",
    "check_proxies",
    "environment_error",
    "environment_proxy",
    "proxy_variable",
]

_HOST_NAME: Final = re.compile(rb"[A-Za-z0-9._-]+|[0-9A-Fa-f:.%a-z]*:[0-9A-Fa-f:.%a-z]*")
_MAX_PORT: Final = 65535
_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})


def environment_error() -> ConfigurationError:
    """Return an error that names the environment variable which httpx cannot use."""
    for check in (_key_log_error, _certificate_error, _proxy_error):
        error = check()
        if error is not None:
            return error
    return ConfigurationError(
        "No HTTP client can be built from the proxies and certificates in the environment.",
        suggestion="Check NO_PROXY, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE.",
    )


def _key_log_error() -> ConfigurationError | None:
    path = os.environ.get("SSLKEYLOGFILE")
    if not path:
        return None
    try:
        with open(path, "ab"):
            return None
    except (OSError, ValueError) as error:
        return _variable_error(
            "SSLKEYLOGFILE", f"names {path!r}, which cannot be written: {_error_text(error)}"
        )


def _certificate_error() -> ConfigurationError | None:
    for name, load in _LOADERS.items():
        path = os.environ.get(name)
        if not path:
            continue
        try:
            load(path)
        except (OSError, ValueError) as error:  # ssl.SSLError among them
            return _variable_error(
                name,
                f"names {path!r}, from which no certificates can be read: {_error_text(error)}",
            )
        break  # httpx ignores SSL_CERT_DIR if SSL_CERT_FILE is set
    return None


def _load_file(path: str) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)


def _load_folder(path: str) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(capath=path)


_LOADERS: Final[dict[str, Callable[[str], None]]] = {
    "SSL_CERT_FILE": _load_file,
    "SSL_CERT_DIR": _load_folder,
}


def certificate_settings() -> tuple[object, ...]:
    """Return what determines the trusted certificates: variables, and the state of their files."""
    settings: list[object] = [os.environ.get("SSLKEYLOGFILE")]
    for name in _LOADERS:
        path = os.environ.get(name)
        settings.append(path)
        if path:
            with suppress(OSError, ValueError):
                found = os.stat(path)
                settings.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return tuple(settings)


def check_proxies() -> None:
    """Raise an error for proxy URLs that httpx accepts but cannot connect to.

    Raises:
        ConfigurationError: A proxy URL is invalid. The message names the variable.
    """
    error = _proxy_address_error(getproxies_environment())
    if error is not None:
        raise error


def environment_proxy(base: str) -> str | None:
    """Return the URL of the proxy that httpx would use for a URL; None: there is no proxy.

    Raises:
        ConfigurationError: A variable is invalid.
    """
    # Not public. Rules of our own for NO_PROXY would differ from those of the other transport.
    from httpx import _utils  # pyright: ignore[reportPrivateUsage]

    proxies = _utils.get_environment_proxies()
    try:
        url = httpx.URL(base)
        patterns = sorted(map(_utils.URLPattern, proxies))
    except (httpx.InvalidURL, ValueError):
        error = environment_error()
    else:
        return next((proxies[p.pattern] for p in patterns if p.matches(url)), None)
    raise error  # outside of the handler: the original may show the password of a proxy


def proxy_variable(base: str) -> str | None:
    """Return the variable that defines the proxy for a host; None: there is no proxy."""
    url = httpx.URL(base)
    proxies = getproxies_environment()
    name = next((name for name in (url.scheme, "all") if proxies.get(name)), None)
    if name is None or proxy_bypass(url.host):
        return None
    return _variable_name(f"{name}_proxy")


def _proxy_error() -> ConfigurationError | None:
    proxies = getproxies_environment()
    if error := _proxy_address_error(proxies):
        return error
    if proxies.get("no"):
        return _variable_error(
            _variable_name("no_proxy"), f"has an entry that is no host: {proxies['no'][:200]!r}"
        )
    return None


def _proxy_address_error(proxies: Mapping[str, str]) -> ConfigurationError | None:
    for scheme in ("http", "https", "all"):
        address = proxies.get(scheme)
        reason = address and _invalid_proxy_reason(address)
        if reason:
            return _variable_error(_variable_name(f"{scheme}_proxy"), reason)
    return None


def _invalid_proxy_reason(address: str) -> str | None:
    """Return what is wrong with a proxy URL, without showing it: it may have a password."""
    kind = address.partition("://")[0].lower() if "://" in address else "http"
    if kind not in _SCHEMES:
        return "does not begin with http://, https:// or socks5://"
    if kind.startswith("socks") and find_spec("socksio") is None:
        return (
            "names a SOCKS proxy, for which a package is missing. Run: pip install 'httpx[socks]'"
        )
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        url = proxy.url
        name, port = url.raw_host, url.port
    except (httpx.InvalidURL, ValueError):
        return "is no address of a proxy, such as http://proxy.example.org:3128"
    if not name:
        return "names no host"
    if not _HOST_NAME.fullmatch(name):
        return "names a host with characters that no host has"
    if port is not None and not 0 < port <= _MAX_PORT:
        return f"names port {port}; ports are 1 to {_MAX_PORT}"
    return None


def _variable_name(name: str) -> str:
    """Return the name of a variable as it is set. Lower case takes precedence, as in httpx."""
    return name if os.environ.get(name) else name.upper()


def _variable_error(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} in the environment {what}.",
        suggestion=(
            f"Correct {name}, or unset it. An http_client of your own with trust_env=False looks "
            "at none of these variables."
        ),
    )


def _error_text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
