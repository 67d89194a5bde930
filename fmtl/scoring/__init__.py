"""Scoring files on disk with the metrics that training uses, each task from its standard format."""
