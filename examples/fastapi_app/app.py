"""A service with one PostHog client for its whole life.

Set `POSTHOG_PERSONAL_API_KEY` and `POSTHOG_PROJECT_ID`, then
`uvicorn examples.fastapi_app.app:app`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from asyncposthog import AsyncPostHog, NotFoundError, PostHogError, RateLimitError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Open the client with the service, and close it with it."""
    async with AsyncPostHog() as app.state.posthog:
        yield


app = FastAPI(lifespan=lifespan)


def client(request: Request) -> AsyncPostHog:
    """The service's client; tests put another in its place."""
    return request.app.state.posthog


PostHog = Annotated[AsyncPostHog, Depends(client)]


@app.exception_handler(PostHogError)
async def unavailable(_: Request, error: Exception) -> JSONResponse:
    """Tell callers that PostHog cannot be had, and no more than that."""
    after = error.retry_after if isinstance(error, RateLimitError) else None
    headers = {} if after is None else {"Retry-After": f"{after:.0f}"}
    return JSONResponse({"error": "PostHog is not available"}, status_code=503, headers=headers)


@app.get("/cohorts")
async def cohorts(posthog: PostHog) -> list[dict[str, Any]]:
    """List the cohorts, all pages of them."""
    return [{"id": cohort.id, "name": cohort.name} async for cohort in posthog.cohorts.list()]


@app.get("/cohorts/{id}")
async def cohort(id: int, posthog: PostHog) -> dict[str, Any]:
    """Show one cohort."""
    try:
        found = await posthog.cohorts.get(id)
    except NotFoundError:
        raise HTTPException(404, f"there is no cohort {id}") from None
    return {"id": found.id, "name": found.name}


@app.get("/navigation")
async def navigation(posthog: PostHog) -> dict[str, str]:
    """Choose a navigation by whether a feature flag is switched on."""
    async for flag in posthog.feature_flags.list(search="new-navigation"):
        if flag.key == "new-navigation" and flag.active:
            return {"navigation": "new"}
    return {"navigation": "old"}
