"""NYU Depth v2."""

from fmtl_datasets.sources.nyud.dataset import VARIANTS, Nyud, NyudLayoutError, find_variant, read_list

__all__ = ["VARIANTS", "Nyud", "NyudLayoutError", "find_variant", "read_list"]
