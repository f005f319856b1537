"""A benchmark harness with experiment tracking for image restoration."""
