"""The report: one comparison as one HTML file that opens without a server and without a network.

Reads a study as the dashboard does, draws with the same figures; loads no torch, no Streamlit.
"""

from pathlib import Path

from analysis.store.files import write_bytes
from dashboard.comparison import Comparison
from dashboard.report.page import report_html
from dashboard.report.settings import ReportConfig

__all__ = ["ReportConfig", "report_html", "write_report"]


def write_report(comparison: Comparison, out: Path, config: ReportConfig | None = None) -> Path:
    """Write the report of ``comparison`` to the HTML file ``out``, whole or not at all."""
    write_bytes(out, report_html(comparison, config).encode())
    return out
