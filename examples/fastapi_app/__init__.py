"""A small FastAPI service that uses PostHog, with tests that need no PostHog."""
