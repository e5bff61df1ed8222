"""The report: one HTML file, and the table the terminal shows."""

from theodolite.report.document import Report, ReportPanel, render_report
from theodolite.report.terminal import summary_lines

__all__ = ["Report", "ReportPanel", "render_report", "summary_lines"]
