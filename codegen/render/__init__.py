"""The render stage: source text from the tree of resources."""
