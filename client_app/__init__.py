"""One participant: its model, tasks, metrics, local training and what it keeps between rounds."""
