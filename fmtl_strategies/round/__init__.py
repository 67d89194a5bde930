"""A round at the server: who takes part, what is sent, which replies are admitted, where the rows are kept."""
