"""The stages of a study and their order; the only place that sequences."""
