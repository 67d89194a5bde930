"""The tasks a client can train: loss, weight, metric, decoder and head."""
