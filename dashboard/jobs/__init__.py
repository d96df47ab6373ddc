"""Background jobs: ordinary commands in processes of their own, their state in files."""
