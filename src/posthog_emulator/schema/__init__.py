"""What the OpenAPI schema says: component lookup, validation, parameters, sample values."""
