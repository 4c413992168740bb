"""Short programs on residual representations, the related work of the paper (section 2).

Run one with `python -m resnet_degradation.examples.vlad`; docs/residual-representations.md explains
them. May import every room below it."""
