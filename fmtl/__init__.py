"""The command line of fmtl; nothing imports this package."""
