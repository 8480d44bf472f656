"""Tolerant pydantic types: what response models accept beyond their annotations."""
