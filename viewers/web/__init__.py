"""Simulations in a web browser."""
