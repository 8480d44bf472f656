"""The released version, read by the build and by `asyncposthog.__version__`."""

__version__ = "0.1.0"
