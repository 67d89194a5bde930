"""Metrics of every task: each streams over batches."""
