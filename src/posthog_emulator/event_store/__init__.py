"""Captured events, persons and groups: storage and ingestion."""
