"""The report of a pipeline's run: one self-contained page."""

from bestie_d2.report.sections import report_path, write_report

__all__ = ["report_path", "write_report"]
