"""Surveys: their feature flags, launching and stopping, statistics and responses."""
