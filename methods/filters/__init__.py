"""Filters of whole pictures that several papers share: batched, on CPU or GPU."""
