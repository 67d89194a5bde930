"""Contact sheets of a client's predictions."""
