"""The functions of HogQL, as data."""
