"""A service that opens one PostHog client at startup and closes it at shutdown.

Set `POSTHOG_PERSONAL_API_KEY` and `POSTHOG_PROJECT_ID`, then run
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
    """Open the client when the service starts, and close it when the service stops."""
    async with AsyncPostHog() as app.state.posthog:
        yield


app = FastAPI(lifespan=lifespan)


def client(request: Request) -> AsyncPostHog:
    """Return the client of the service. Tests override this dependency."""
    return request.app.state.posthog


PostHog = Annotated[AsyncPostHog, Depends(client)]


@app.exception_handler(PostHogError)
async def unavailable(_: Request, error: Exception) -> JSONResponse:
    """Return a 503 without details of the error, which may be confidential."""
    retry_after = error.retry_after if isinstance(error, RateLimitError) else None
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:.0f}"}
    return JSONResponse({"error": "PostHog is not available"}, status_code=503, headers=headers)


@app.get("/cohorts")
async def cohorts(posthog: PostHog) -> list[dict[str, Any]]:
    """List all cohorts."""
    return [{"id": cohort.id, "name": cohort.name} async for cohort in posthog.cohorts.list()]


@app.get("/cohorts/{id}")
async def cohort(id: int, posthog: PostHog) -> dict[str, Any]:
    """Return one cohort."""
    try:
        result = await posthog.cohorts.get(id)
    except NotFoundError:
        raise HTTPException(404, f"there is no cohort {id}") from None
    return {"id": result.id, "name": result.name}


@app.get("/navigation")
async def navigation(posthog: PostHog) -> dict[str, str]:
    """Return the navigation to show, which a feature flag decides."""
    async for flag in posthog.feature_flags.list(search="new-navigation"):
        if flag.key == "new-navigation" and flag.active:
            return {"navigation": "new"}
    return {"navigation": "old"}
