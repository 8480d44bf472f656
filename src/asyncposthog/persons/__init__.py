"""Persons: lookups by distinct id, changes that become visible later, deletions of many."""
