"""Losses that several papers share, each with its equation, range and unit."""
