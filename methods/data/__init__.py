"""Weights that ship with the methods, what makes them again, and what they learn from."""
