"""The `files` engine: PostHog's own file downloads, read back in the order of an export.

`plan` decides what to ask for, `job` has files made, `download` fetches them, `spool` keeps them,
`sorting` puts their rows in order, and `engine` is what an export sees. Importing it needs nothing;
running it needs pyarrow.
"""
