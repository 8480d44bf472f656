"""Programs that measure this package and its rivals in the same run."""
