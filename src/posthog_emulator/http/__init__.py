"""HTTP: requests and responses, the error envelope, the ASGI application and its servers."""
