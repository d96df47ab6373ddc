"""How far two models part, measured on their outputs."""
