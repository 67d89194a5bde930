"""Aggregation maths: pure functions on arrays, apart from files, messages and Flower.

Shape legend used in names: n = rows (clients or decoders), d = elements of a group, k = decoders,
l = layers. Row matrices are float32 with contiguous columns; coefficients are float64.
"""
