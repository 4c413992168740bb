"""`resnet-inspect`: measures a trained net by the probes and says what was found.

May import training and the rooms below it."""
