"""Batch exports: file downloads and scheduled exports.

`files` writes Parquet and JSONLines from the event store, `object_store` serves the files from
another origin, and `downloads` has the endpoints of file downloads. `scheduled` has the endpoints
of scheduled exports, whose runs `schedule` creates as the emulator's clock advances; `validation`
checks request bodies.
"""
