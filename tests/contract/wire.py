"""A client without a network, and what openapi-core makes of the requests it sends."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from functools import cache, reduce
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

from asyncposthog import AsyncPostHog, registry
from asyncposthog.operation import Operation

from .calls import described
from .document import small

__all__ = [
    "HOST",
    "KEY",
    "ORGANIZATION",
    "PROJECT",
    "Sent",
    "Wire",
    "form_of",
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


class Wire:
    """A client without a network: every call gets the same response, and its request is kept."""

    def __init__(self) -> None:
        self.response = httpx.Response(418)
        self.requests: list[Sent] = []
        self.ph = AsyncPostHog(
            KEY,
            host=HOST,
            project_id=PROJECT,
            organization_id=ORGANIZATION,
            max_retries=0,
            limits=False,  # hundreds of calls in no time
            transport=httpx.MockTransport(self._handle),
        )

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(Sent.of(request))
        response = self.response
        return httpx.Response(
            response.status_code, headers=response.headers, content=response.content
        )

    def method(self, name: str) -> Any:
        """Return the generated method of an operation."""
        return reduce(getattr, name.split("."), self.ph)

    def last(self) -> Sent:
        """Return the one request that was made since this was called last."""
        requests, self.requests = self.requests, []
        (sent,) = requests
        return sent


def understood(sent: Sent, operation: Operation) -> Parameters:
    """Let openapi-core validate a request; return what it understands of its parameters.

    Raises:
        OpenAPIError: The request is not what the document describes.
    """
    body, parameters = _validators(operation.id)
    try:
        body.validate(sent)
    except MissingRequiredRequestBody:
        raise
    except MissingRequestBody:
        pass  # it may be left out
    result = parameters.unmarshal(sent)
    result.raise_for_errors()
    return result.parameters


@cache
def _validators(name: str) -> tuple[V31RequestBodyValidator, V31RequestParametersUnmarshaller]:
    """Make what validates the requests of an operation: it takes longer than validating one."""
    operation = registry.find(name)
    path, description = described(operation)
    document = SchemaPath.from_dict(small(path, operation.method, description, HOST))
    return V31RequestBodyValidator(document), V31RequestParametersUnmarshaller(
        document, extra_format_unmarshallers={"uri": str}
    )


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
