"""Captured events, and the persons and groups they speak of."""
