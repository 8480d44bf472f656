"""Example programs that use the client. Start with `python -m examples.demo`."""
