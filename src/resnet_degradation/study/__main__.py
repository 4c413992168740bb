"""`python -m resnet_degradation.study`: the same as `resnet-study`."""

from resnet_degradation.start import ignore_current_folder

if __name__ == "__main__":
    ignore_current_folder()
    from resnet_degradation.cli import study

    study()
