"""One thin module for each command; each has a function ``command`` with typer annotations."""
