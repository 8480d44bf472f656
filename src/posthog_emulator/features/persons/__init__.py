"""Persons: storage, endpoints, serialization."""
