"""The generator: from an instance's OpenAPI document to resources, models and the registry.

It is never shipped. Its stages are pure functions over plain data: load, normalise, surface,
render.
"""
