"""NYU Depth v2."""

from datasets.nyud.dataset import VARIANTS, Nyud, NyudLayoutError, find_variant, read_list

__all__ = ["VARIANTS", "Nyud", "NyudLayoutError", "find_variant", "read_list"]
