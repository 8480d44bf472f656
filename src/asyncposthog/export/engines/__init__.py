"""Ways to read rows: HogQL queries, list operations, PostHog's own export files."""
