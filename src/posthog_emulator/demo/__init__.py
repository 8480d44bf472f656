"""Demo data: the events of a fictional product, generated from a seed, and objects for them."""
