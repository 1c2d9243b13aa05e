"""Runs: their configuration, folders, training, and what is exported of them."""
