"""The registry for programs and models: search, descriptions, arguments as JSON.

Used by the driver and the toolkit. Everything here is pure: nothing is sent.
"""
