"""Feature flags: evaluation by the server or in this process, and safe edits of definitions.

`service` is `ph.flags`; `snapshot` holds results; `wire` encodes requests and parses responses;
`definitions` loads flag definitions and `matcher` evaluates them; `called_events` reports reads;
`editing` is `ph.feature_flags` with `edit`.
"""
