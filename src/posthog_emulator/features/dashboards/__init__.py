"""Dashboards: their tiles, with insights and texts, and the results of insights."""
