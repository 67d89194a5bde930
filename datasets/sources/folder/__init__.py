"""A user's own images and labels, described by a short YAML file (docs/your-own-data.md)."""
