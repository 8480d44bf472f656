"""`ph.export`: millions of rows, exactly once, resumable, into files that data tools read."""

from __future__ import annotations

from .batch import Batch
from .job import ExportJob
from .partition import ExportPlan, Partition
from .report import FileReport, Progress, Report
from .service import Export

__all__ = [
    "Batch",
    "Export",
    "ExportJob",
    "ExportPlan",
    "FileReport",
    "Partition",
    "Progress",
    "Report",
]
