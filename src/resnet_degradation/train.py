"""`python -m resnet_degradation.train`: the same as `resnet-train`, for torchrun."""

from resnet_degradation.system.import_path import ignore_current_folder

if __name__ == "__main__":
    ignore_current_folder()
    from resnet_degradation.cli.commands import train

    train()
