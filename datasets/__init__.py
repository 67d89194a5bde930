"""Data sets, joint transforms, partitions and scenarios. Imports no other package of this project."""
