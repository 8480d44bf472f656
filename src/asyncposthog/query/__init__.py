"""HogQL and other queries: `ph.query`, its results, and what its columns hold."""
