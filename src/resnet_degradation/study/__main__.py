"""`python -m resnet_degradation.study`: the same as `resnet-study`."""

from resnet_degradation.cli import study

if __name__ == "__main__":
    study()
