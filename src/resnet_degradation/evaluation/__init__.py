"""`resnet-eval`: tests a trained net by a protocol of the paper.

May import training and the rooms below it."""
