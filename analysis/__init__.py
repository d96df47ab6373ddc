"""Compare a distillation teacher with its students, from pixels to verdict."""
