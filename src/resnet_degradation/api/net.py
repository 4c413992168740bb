"""Makes an untrained net."""

from typing import cast

from omegaconf import OmegaConf

from resnet_degradation.api.calls import translate_errors
from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config, DataConfig
from resnet_degradation.nets.resnet import ResNet


@translate_errors(Config)
def resnet(
    depth: int = 20,
    residual: bool = True,
    *,
    num_classes: int = 10,
    seed: int = 0,
    family: str | None = None,
    shortcut: str | None = None,
    shortcut_padding: str = "behind",
    width: float = 1.0,
    block: str | None = None,
    bottleneck_stride: str = "1x1",
) -> ResNet:
    """Make a net of the paper with its initial weights (He initialization).

    The net takes images of shape (N, 3, H, W) and returns logits of shape (N, num_classes). A plain
    net (`residual=False`) and the residual net of the same depth and seed have the same weights.

    depth: number of layers with weights: 6n+2 (CIFAR, section 4.2) or 18, 34, 50, 101, 152
    (Table 1).
    family: "cifar" or "imagenet"; by default the first that has this depth (both have 50 and 152).
    shortcut: option A, B or C of Table 3; by default A, or B for bottlenecks.

    Parameters and buffers of both families have the same names as in torchvision (conv1,
    layer1.0.bn1, layer2.0.downsample.0, fc). Two defaults follow the paper: torchvision's nets have
    shortcut="B" and bottleneck_stride="3x3".

    Raises UserError if there is no such net. torch's random state does not change.
    """
    import torch

    from resnet_degradation.nets.build import make_net

    config = Config(
        depth=depth,
        residual=residual,
        seed=seed,
        family=family,
        shortcut=shortcut,
        shortcut_padding=shortcut_padding,
        width=width,
        block=block,
        bottleneck_stride=bottleneck_stride,
        data=DataConfig(name="digits"),
    )
    config = resolve(cast(Config, OmegaConf.to_object(OmegaConf.structured(config))))
    with torch.random.fork_rng(devices=[]):
        return make_net(config, num_classes)
