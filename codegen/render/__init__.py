"""The render stage: the tree of resources to source text."""
