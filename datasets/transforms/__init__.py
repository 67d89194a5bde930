"""Joint transforms of images and labels."""
