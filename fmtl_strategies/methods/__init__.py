"""The methods, one file each, and nothing else."""
