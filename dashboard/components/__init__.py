"""Browser components of our own."""
