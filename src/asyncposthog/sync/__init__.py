"""Exports that are repeated: new events since the last round, and snapshots of everything else."""

from __future__ import annotations

from .config import SyncConfig, SyncExport, parse_config
from .service import Round, Sync

__all__ = ["Round", "Sync", "SyncConfig", "SyncExport", "parse_config"]
