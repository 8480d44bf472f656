"""A small FastAPI service that uses PostHog, and how it is tested without one."""
