"""A client's network: encoder, decoders, heads, and pretrained weights for the encoder."""
