"""Records and bytes on disk: studies, the stage cache, atomic files."""
