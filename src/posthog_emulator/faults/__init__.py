"""Injected faults: errors, latency, lost connections and wrong responses."""
