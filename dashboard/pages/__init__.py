"""The screens; each reads a study and a selection and shows figures."""
