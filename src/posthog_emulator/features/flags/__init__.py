"""Feature flags, evaluated as PostHog evaluates them.

`hashing`, `conditions` and `evaluator` evaluate flags and import no emulator state; `lookup` reads
flags and persons from the state; `responses` builds response bodies; `routes` and `handlers` are
the endpoints; `overrides` sets flags for tests.
"""
