"""Client-side rate limits: wait before a request that the server would answer with a 429.

`limiter.RateLimiter` is what a client uses. Below it: the limits that a call counts against
(`limits`, `resolver`), the storage of their windows (`stores`), the queues of waiting calls
(`scheduler`, `wait_queue`), and the reaction to a 429 (`adaptive`).
"""
