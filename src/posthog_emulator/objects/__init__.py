"""Objects that operations act on: their paths, collections, fields and identifiers."""
