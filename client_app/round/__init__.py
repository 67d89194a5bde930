"""A round at a client: who it is, its data and model, training, the reply."""
