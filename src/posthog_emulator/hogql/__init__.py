"""HogQL: parsed by PostHog's parser and printed as ClickHouse SQL, without a database.

`translate.py` has the public functions. Importing the package alone loads no parser.
"""
