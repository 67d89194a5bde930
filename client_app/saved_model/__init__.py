"""A client's model on its disk: written whenever it is scored, loaded without a data set or a run."""
