"""A believable product's events, made up from a seed."""
