"""Cohorts: endpoints and membership."""
