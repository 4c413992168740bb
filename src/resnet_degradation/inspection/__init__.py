"""`resnet-inspect`: measures trained nets with probes, and reports the findings.

May import training and the rooms below it."""
