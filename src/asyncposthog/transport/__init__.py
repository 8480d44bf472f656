"""Everything between a method call and the wire."""
