"""Error tracking: issues made from exceptions, and what is done with them."""
