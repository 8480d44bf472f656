"""Programs that show the client at work; `python -m examples.demo` is the first to run."""
