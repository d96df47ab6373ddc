"""One pure function per chart: records in, plotly figure or HTML out."""
