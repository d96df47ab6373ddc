"""Live computing: one worker process that answers while somebody looks."""
