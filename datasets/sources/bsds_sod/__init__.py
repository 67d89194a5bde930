"""BSDS300 images with the boundaries that several people drew, and with salient objects."""
