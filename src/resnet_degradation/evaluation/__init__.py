"""`resnet-eval`: the error of a trained net by a testing protocol of the paper.

May import training and the rooms below it."""
