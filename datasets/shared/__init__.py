"""What every data set shares: label conventions, caches, colours, readers of file formats."""
