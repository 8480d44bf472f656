"""Translation of HogQL queries to DuckDB's SQL. Importing the package alone loads no parser."""
