"""The server's rate limits, and its limit of concurrent queries."""
