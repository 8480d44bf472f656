"""Default behaviour of REST operations: CRUD handlers, filters and pagination."""
