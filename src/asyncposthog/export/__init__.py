"""`ph.export`: resumable exports of millions of rows, each exactly once, to files and functions."""

from __future__ import annotations

from .batch import Batch
from .destinations import Destination
from .job import ExportJob
from .partition import ExportPlan, Partition
from .report import FileReport, Progress, Report
from .scheduled import Backfill, BackfillProgress, ScheduledExport
from .service import Export

__all__ = [
    "Backfill",
    "BackfillProgress",
    "Batch",
    "Destination",
    "Export",
    "ExportJob",
    "ExportPlan",
    "FileReport",
    "Partition",
    "Progress",
    "Report",
    "ScheduledExport",
]
