"""Metrics of every task: each streams over batches and merges across workers."""
