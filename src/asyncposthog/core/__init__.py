"""Calls, from a generated method to its decoded result."""
