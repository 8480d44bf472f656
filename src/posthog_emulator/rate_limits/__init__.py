"""The server's rate limits and its slots for queries."""
