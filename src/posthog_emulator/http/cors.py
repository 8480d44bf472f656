"""Cross-origin requests: the answers to preflights, and the headers of responses.

Without an `Origin` header, nothing changes. The hosts for capture and flags allow every origin
with credentials, and every header that is asked for; so do public paths of the app, whose SDKs run
in pages of other sites. The private API allows every origin without credentials: a key in a header
is not one of these.
"""

from __future__ import annotations

from typing import Final

from .messages import Headers, Request, Response

__all__ = ["cors_headers", "preflight_response"]

_PUBLIC_METHODS: Final = "GET,POST,OPTIONS"
_PRIVATE_METHODS: Final = "DELETE,GET,OPTIONS,PATCH,POST,PUT"
_PRIVATE_HEADERS: Final = (
    "accept,authorization,content-type,user-agent,x-csrftoken,x-requested-with,traceparent,"
    "request-id,request-context"
)
_PREFLIGHT_SECONDS: Final = "86400"


def cors_headers(origin: str, *, public: bool) -> Headers:
    """Return the headers that let a page of another origin read a response.

    Args:
        origin: The origin of the page.
        public: Whether the path is one that SDKs in browsers use.
    """
    if not public:
        return [("Access-Control-Allow-Origin", "*")]
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    ]


def preflight_response(request: Request, *, public: bool) -> Response | None:
    """Return the response to a preflight; None if the request is not one.

    Args:
        request: A request with an `Origin` header.
        public: See `cors_headers`.
    """
    method = request.headers.get("access-control-request-method")
    if request.method != "OPTIONS" or method is None:
        return None
    headers = cors_headers(request.headers["origin"], public=public)
    if public:
        headers.append(("Access-Control-Allow-Methods", _PUBLIC_METHODS))
        requested = request.headers.get("access-control-request-headers")
        if requested:
            headers.append(("Access-Control-Allow-Headers", requested))
    else:
        headers += [
            ("Access-Control-Allow-Methods", _PRIVATE_METHODS),
            ("Access-Control-Allow-Headers", _PRIVATE_HEADERS),
            ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
        ]
    return Response(200, headers=headers)
