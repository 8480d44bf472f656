"""The embedded ClickHouse: one server in this process, and a database for each emulator."""
