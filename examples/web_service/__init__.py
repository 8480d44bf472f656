"""A FastAPI service with feature flags and events for each request, and tests without PostHog."""
