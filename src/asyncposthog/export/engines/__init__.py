"""Engines that read rows: HogQL queries, list operations, PostHog's file downloads."""
