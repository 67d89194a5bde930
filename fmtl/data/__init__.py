"""Data sets on disk: what each is, whether a folder holds it, and pictures of what it holds."""
