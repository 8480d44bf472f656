"""Batch exports: files to download, and exports on a schedule.

`files` makes real Parquet and JSONLines out of the event store, `objects` keeps them and hands
them out as an object store of another origin does, and `downloads` is the API for asking for them.
`intervals` and `rules` decide; `schedules`, `runs` and `backfills` are the API of scheduled
exports, whose runs come as the emulator's clock goes on.
"""
