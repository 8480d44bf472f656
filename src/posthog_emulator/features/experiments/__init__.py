"""Experiments: their feature flags, and the steps from draft to archive."""
