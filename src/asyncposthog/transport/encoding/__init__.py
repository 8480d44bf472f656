"""Encode arguments into URL paths, query strings, headers and bodies."""
