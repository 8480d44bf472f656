"""The `files` engine: PostHog's file downloads, read in the order of an export.

`plan` decides which files to request, `job` has the server make them, `download` fetches them,
`cache` stores them, `merge` sorts and merges their rows, and `engine` is the engine itself.
Importing this package needs nothing; running the engine needs pyarrow.
"""
