"""Pieces of a net in C, for the CPU: compiled once, in a second, and used where they can be."""

from resnet_degradation.kernels.batch_norm import FusedNormRelu, fused_norm_relu

__all__ = ["FusedNormRelu", "fused_norm_relu"]
