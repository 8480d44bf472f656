"""Rate limits: what the server grants, kept to before it has to refuse.

`limiter.RateLimiter` is what a client uses. Below it: which budgets a call draws on (`buckets`,
`routes`), windows (`window`, kept by a `store`), waiting (`queue`), and what a 429 teaches
(`feedback`).
"""
