"""Checkpoints of MLX: read under the names and in the layout of transformers.

mlx-lm puts the channels of convolutions last, experts into one tensor and, where it quantises, the
integers of a matrix into words of 32 bits; some families get other names besides.
"""
