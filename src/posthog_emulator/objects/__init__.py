"""The objects that operations act on: paths, collections, schemas and storage."""
