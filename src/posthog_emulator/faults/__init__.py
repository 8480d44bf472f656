"""What is to go wrong, and how a caller asks for it."""
