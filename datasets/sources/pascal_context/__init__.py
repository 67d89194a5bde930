"""PASCAL-Context with labels for five tasks."""
