"""`python -m fmtl` is `fmtl`."""

from fmtl.cli import main

if __name__ == "__main__":
    main()
