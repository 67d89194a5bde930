"""Decoders and heads of the COCO tasks, made of torchvision's detection parts; the encoder is the one all tasks use."""
