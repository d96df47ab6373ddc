"""Training of teachers and distillation of students."""
