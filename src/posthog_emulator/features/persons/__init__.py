"""Persons: repository, endpoints, serializers."""
