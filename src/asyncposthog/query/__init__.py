"""HogQL and other queries: `ph.query`, its results, and conversion of their columns."""
