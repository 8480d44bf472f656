"""A shop whose requests have a person, feature flags and events.

Set `POSTHOG_PERSONAL_API_KEY`, `POSTHOG_PROJECT_ID` and `POSTHOG_PROJECT_API_KEY`, then run
`uvicorn examples.web_service.app:app`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from asyncposthog import AsyncPostHog
from asyncposthog.contrib.fastapi import Client, Context, Flags, PostHogMiddleware, connect

SESSIONS = {"secret-of-ada": "ada"}
"""Who is logged in, by the bearer token. A real service asks its database."""


def user_id(scope: MutableMapping[str, Any]) -> str | None:
    """Return who is logged in. It wins over what the request claims to be."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return SESSIONS.get(value.decode().removeprefix("Bearer "))
    return None


def create_app(client: AsyncPostHog | None = None, *, local_flags: bool = False) -> FastAPI:
    """Return the service. Without a client, it makes one from the environment."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with connect(app, client, local_flags=local_flags):
            yield

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(PostHogMiddleware, user=user_id)

    @app.get("/home")
    async def home(flags: Flags) -> dict[str, Any]:
        """Show the home page that the person gets. An unknown flag shows the old one."""
        theme = flags.variant("theme", None)
        return {"new": flags.is_enabled("new-home", False), "theme": theme or "light"}

    @app.post("/orders")
    async def order(posthog: Client) -> dict[str, bool]:
        """Take an order. The event belongs to the person and the session of the request."""
        await posthog.capture("ordered", properties={"items": 1})
        return {"ordered": True}

    @app.get("/price")
    async def price(context: Context) -> dict[str, int]:
        """Evaluate flags only where they are needed."""
        discount = await context.is_enabled("discount", False)
        return {"price": 80 if discount else 100}

    @app.get("/broken")
    async def broken() -> None:
        """Fail. The exception is captured once."""
        raise LookupError("the shelf is empty")

    return app


app = create_app()
