"""HogQL over DuckDB: a pure translation of queries. Importing this package loads nothing big."""
