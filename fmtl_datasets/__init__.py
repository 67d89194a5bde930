"""The folder `datasets` of this checkout, under a name that no other package has; a wheel holds it under this name."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[1] / "datasets")]
