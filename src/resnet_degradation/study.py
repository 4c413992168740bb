"""`python -m resnet_degradation.study` is the same as `resnet-study`, for Hydra's launchers."""

from resnet_degradation.system.import_path import ignore_current_folder

if __name__ == "__main__":
    ignore_current_folder()
    from resnet_degradation.cli.commands import study

    study()
