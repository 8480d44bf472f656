"""The code generator: resources, models and the registry from an instance's OpenAPI document.

It is not part of the distribution. Its stages (load, normalise, override, surface, models, render)
are pure functions over plain data.
"""
