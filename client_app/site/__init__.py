"""A client on a machine of its own: its file, its resident process, the record of what it has sent."""
