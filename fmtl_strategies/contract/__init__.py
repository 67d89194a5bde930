"""What server and clients agree on: names of arrays, their layout, messages, number formats, files written whole."""
