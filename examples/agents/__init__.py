"""Agents that answer questions with PostHog's data, one for each SDK. Each file stands alone."""
