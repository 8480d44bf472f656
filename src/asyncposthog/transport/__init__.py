"""HTTP: encoding, connections, retries, redirects and middleware."""
