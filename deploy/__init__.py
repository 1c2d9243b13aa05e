"""Exported policies in plain MuJoCo: nothing here imports the rest of the project."""
