"""`python -m resnet_degradation.train` is the same as `resnet-train`, but works with torchrun."""

from resnet_degradation.system.import_path import ignore_current_folder

if __name__ == "__main__":
    ignore_current_folder()
    from resnet_degradation.cli.commands import train

    train()
