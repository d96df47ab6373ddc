"""Architectures, weights, and the handle that everybody else calls."""
