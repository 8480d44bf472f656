"""A client without a network, and what openapi-core makes of the requests it sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from typing import Any, cast

import httpx
from jsonschema_path import SchemaPath
from openapi_core.datatypes import Parameters, RequestParameters
from openapi_core.unmarshalling.request.unmarshallers import V31RequestParametersUnmarshaller
from openapi_core.validation.request.exceptions import (
    MissingRequestBody,
    MissingRequiredRequestBody,
)
from openapi_core.validation.request.validators import V31RequestBodyValidator
from werkzeug.datastructures import Headers, ImmutableMultiDict

from asyncposthog import AsyncPostHog

from .document import small

__all__ = [
    "HOST",
    "KEY",
    "ORGANIZATION",
    "PROJECT",
    "Sent",
    "client",
    "form_of",
    "method",
    "understood",
]

HOST = "https://us.posthog.com"
KEY = "phx_contract"
PROJECT = 4711
ORGANIZATION = "0195f2a0-0000-7000-8000-00000000002a"


@dataclass
class Sent:
    """A request as it was on the wire, in the form openapi-core reads."""

    method: str
    url: httpx.URL
    headers: httpx.Headers
    content: bytes
    parameters: RequestParameters

    @classmethod
    def of(cls, request: httpx.Request) -> Sent:
        """Copy a request while it is on the wire: afterwards it gives up its key."""
        parameters = RequestParameters(
            query=ImmutableMultiDict(request.url.params.multi_items()),
            header=Headers(request.headers.multi_items()),
        )
        headers = httpx.Headers(request.headers)
        return cls(request.method.lower(), request.url, headers, request.content, parameters)

    @property
    def host_url(self) -> str:
        """Scheme and host."""
        return f"{self.url.scheme}://{self.url.netloc.decode()}"

    @property
    def path(self) -> str:
        """The path, decoded."""
        return self.url.path

    @property
    def body(self) -> bytes | None:
        """The body; None without one."""
        return self.content or None

    @property
    def content_type(self) -> str:
        """The media type with its parameters."""
        return self.headers.get("Content-Type", "")


def client(answer: Callable[[], httpx.Response]) -> tuple[AsyncPostHog, list[Sent]]:
    """Return a client whose every call gets an answer, and the list of what it sends."""
    sent: list[Sent] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        sent.append(Sent.of(request))
        return answer()

    ph = AsyncPostHog(
        KEY,
        host=HOST,
        project_id=PROJECT,
        organization_id=ORGANIZATION,
        max_retries=0,
        transport=httpx.MockTransport(handle),
    )
    return ph, sent


def method(ph: AsyncPostHog, name: str) -> Any:
    """Return the generated method of an operation."""
    found: Any = ph
    for part in name.split("."):
        found = getattr(found, part)
    return found


def understood(sent: Sent, path: str, description: Mapping[str, Any]) -> Parameters:
    """Let openapi-core validate a request; return what it understands of its parameters.

    Raises:
        OpenAPIError: The request is not what the document describes.
    """
    document = SchemaPath.from_dict(small(path, sent.method, description, HOST))
    try:
        V31RequestBodyValidator(document).validate(sent)
    except MissingRequiredRequestBody:
        raise
    except MissingRequestBody:
        pass  # it may be left out
    result = V31RequestParametersUnmarshaller(document).unmarshal(sent)
    result.raise_for_errors()
    return result.parameters


def form_of(sent: Sent) -> list[tuple[str, str | None, bytes]]:
    """Return name, file name and content of each part of a form, as Python reads them."""
    head = f"Content-Type: {sent.content_type}\r\n\r\n".encode()
    message = message_from_bytes(head + sent.content, policy=HTTP)
    return [
        (
            str(part.get_param("name", header="Content-Disposition")),
            part.get_filename(),
            cast("bytes", part.get_payload(decode=True)),
        )
        for part in message.iter_parts()
    ]
