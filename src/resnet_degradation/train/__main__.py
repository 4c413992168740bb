"""`python -m resnet_degradation.train`: the same as `resnet-train`."""

from resnet_degradation.cli import train

if __name__ == "__main__":
    train()
