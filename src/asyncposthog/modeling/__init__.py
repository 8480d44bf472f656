"""Lenient pydantic schemas, and comparing values with annotations."""
