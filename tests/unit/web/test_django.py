"""The Django middleware for async views, in Django's own ASGI handler."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from django.conf import settings

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator

from .helpers import Captures, captured_exceptions, cookie, emulated

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["asyncposthog.contrib.django.PostHogMiddleware"],
        SECRET_KEY="of the tests",
        DEBUG=False,
        LOGGING_CONFIG=None,
    )
    import django

    django.setup()

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

pytestmark = pytest.mark.asyncio  # Django's ASGI handler needs asyncio


async def show(request: HttpRequest) -> HttpResponse:
    context: Any = request.posthog  # type: ignore[attr-defined]
    enabled = await context.is_enabled("beta", False)
    return HttpResponse(f"{context.distinct_id} {context.session_id} {enabled}".encode())


async def fail(request: HttpRequest) -> HttpResponse:
    raise LookupError("of the view")


async def fail_known(request: HttpRequest) -> HttpResponse:
    error = LookupError("of the view")
    await request.posthog.client.capture.exception(error)  # type: ignore[attr-defined]
    raise error


def blocking(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.posthog.distinct_id).encode())  # type: ignore[attr-defined]


urlpatterns = [
    path("show", show),
    path("fail", fail),
    path("fail_known", fail_known),
    path("blocking", blocking),
]


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.set_flag("beta", distinct_id="ada")
    return emulator


@pytest.fixture
def captures() -> Captures:
    return Captures()


def http(client: Any, **changes: Any) -> tuple[httpx.AsyncClient, Any]:
    """Return a client of the project, and what undoes its settings."""
    changed = override_settings(POSTHOG_CLIENT=client, **changes)
    changed.enable()
    transport = httpx.ASGITransport(ASGIHandler())
    return httpx.AsyncClient(transport=transport, base_url="http://service"), changed


async def get(client: Any, url: str, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    service, changed = http(client, **changes)
    try:
        async with service:
            return await service.get(url, headers=headers)
    finally:
        changed.disable()


async def test_a_view(emulator: Emulator, captures: Captures) -> None:
    async with emulated(emulator, captures) as ph:
        response = await get(ph, "/show", {"X-POSTHOG-DISTINCT-ID": "ada"})
        assert response.text == "ada None True"
        response = await get(lambda: ph, "/show", {"Cookie": cookie()})
        assert response.text == "from-cookie s-cookie False"
        response = await get(ph, "/blocking", {"X-POSTHOG-DISTINCT-ID": "ada"})
        assert response.text == "ada"
        response = await get(ph, "/show", {"Cookie": cookie()}, POSTHOG_TRUST_COOKIE=False)
        assert response.text == "None None False"


async def test_the_user_wins(emulator: Emulator, captures: Captures) -> None:
    async def user(request: HttpRequest) -> str:
        return "ada"

    async with emulated(emulator, captures) as ph:
        headers = {"X-POSTHOG-DISTINCT-ID": "forged"}
        response = await get(ph, "/show", headers, POSTHOG_USER=user)
        assert response.text == "ada None True"


async def test_the_default_is_the_user_of_django(emulator: Emulator) -> None:
    from asyncposthog.contrib.django import _logged_in_user

    class User:
        def __init__(self, authenticated: bool) -> None:
            self.pk, self.is_authenticated = 7, authenticated

    class Request:
        def __init__(self, user: User) -> None:
            self.user = user

        async def auser(self) -> User:
            return self.user

    assert await _logged_in_user(Request(User(True))) == "7"
    assert await _logged_in_user(Request(User(False))) is None
    assert await _logged_in_user(object()) is None


async def test_an_exception_of_a_view_is_captured_once(
    emulator: Emulator, captures: Captures
) -> None:
    async with emulated(emulator, captures) as ph:
        response = await get(ph, "/fail", {"X-POSTHOG-DISTINCT-ID": "ada"})
        assert response.status_code == 500
        [(error, distinct_id, properties)] = captures.exceptions
        assert (str(error), distinct_id) == ("of the view", "ada")
        assert properties == {"$request_path": "/fail", "$request_method": "GET"}
        await get(ph, "/fail", POSTHOG_CAPTURE_EXCEPTIONS=False)
        assert len(captures.exceptions) == 1


async def test_an_exception_that_a_view_has_captured_is_not_captured_again(
    emulator: Emulator,
) -> None:
    async with AsyncPostHog.emulated(emulator) as ph:
        response = await get(ph, "/fail_known", {"X-POSTHOG-DISTINCT-ID": "ada"})
        assert response.status_code == 500
        await ph.capture.flush()
    assert captured_exceptions(emulator) == [("of the view", True)]


async def test_what_is_missing_is_told() -> None:
    with pytest.raises(ImproperlyConfigured, match="POSTHOG_CLIENT is not set"):
        await get(None, "/show")
    response = await get(lambda: object(), "/show")
    assert response.status_code == 500


async def test_the_client_may_be_a_dotted_path(emulator: Emulator) -> None:
    global made
    async with emulated(emulator) as made:
        response = await get(f"{__name__}.made", "/show", {"X-POSTHOG-DISTINCT-ID": "ada"})
        assert response.text == "ada None True"


made: AsyncPostHog | None = None
