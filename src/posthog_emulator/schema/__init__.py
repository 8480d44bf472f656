"""What the schema says of bodies, objects and parameters: looked up, checked, and made up."""
