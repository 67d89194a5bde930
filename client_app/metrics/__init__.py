"""Metrics of the dense tasks: each streams over batches and merges across workers."""
