"""The endpoints that take events in, old and new."""
