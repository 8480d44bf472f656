"""Feature flags: evaluated for whoever asks, as PostHog evaluates them.

`hashing`, `matching`, `moments` and `evaluation` decide, and know nothing of the emulator;
`subject` finds out who it is about, `definitions` writes what a client needs to decide on its own,
`answers` and `routes` speak HTTP, and `forcing` sets flags up for tests.
"""
