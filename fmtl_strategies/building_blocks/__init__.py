"""What several methods share: means over groups of rows, a common update, a server optimiser, wrapping a method."""
