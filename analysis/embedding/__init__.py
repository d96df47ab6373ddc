"""Neighborhoods in feature space and their two-dimensional layouts."""
