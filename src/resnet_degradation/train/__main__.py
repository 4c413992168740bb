"""`python -m resnet_degradation.train`: the same as `resnet-train`."""

from resnet_degradation.start import ignore_current_folder

if __name__ == "__main__":
    ignore_current_folder()
    from resnet_degradation.cli import train

    train()
