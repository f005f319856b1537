"""Papers' assessors as metrics: `bench.measure.metrics` reaches them by dotted path."""
