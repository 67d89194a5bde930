"""The data sets, one room each."""
