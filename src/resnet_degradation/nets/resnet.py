"""Plain and residual nets of both families, built from plain arguments."""

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.config.architectures import Architecture
from resnet_degradation.nets.activation_checkpointing import run_blocks, run_checkpointed
from resnet_degradation.nets.blocks import (
    Block,
    BottleneckStride,
    Shortcut,
    ShortcutPadding,
    ZeroPaddedIdentity,
    make_block,
)


class ResNet(nn.Module):
    """A stem, stages of blocks, global average pooling and one fully connected layer.

    With `residual` false the very same layers are stacked without their shortcuts: a plain net.
    """

    def __init__(
        self,
        arch: Architecture,
        residual: bool,
        shortcut: Shortcut,
        num_classes: int,
        width: float,
        bottleneck_stride: BottleneckStride,
        in_channels: int,
        custom_block: type[Block] | None,
        shortcut_padding: ShortcutPadding,
    ) -> None:
        super().__init__()
        self.arch = arch
        self.has_custom_blocks = custom_block is not None
        self.run_checkpointed = run_checkpointed
        widths = [max(1, round(channels * width)) for channels in arch.channels]
        channels = widths[0]
        if arch.family == "cifar":
            self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        for stage, (num_blocks, stage_width) in enumerate(
            zip(arch.num_blocks, widths, strict=True)
        ):
            blocks = []
            for index in range(num_blocks):
                # Maps are halved by the first layer of every stage but the first.
                stride = 2 if stage > 0 and index == 0 else 1
                shape = (channels, stage_width, stride, residual, shortcut)
                block = (
                    custom_block(*shape)
                    if custom_block is not None
                    else make_block(arch.block, *shape, bottleneck_stride)
                )
                channels = stage_width * block.expansion
                blocks.append(block)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():  # of custom blocks too, whose constructor does not know it
            if isinstance(module, ZeroPaddedIdentity):
                module.padding = shortcut_padding
        # Blocks of each stage whose activations are computed again together; None: all are kept.
        self.segment_lengths: list[int] | None = None

    def stages(self) -> list[nn.Module]:
        """The stages in order, each a sequence of blocks."""
        return [self.get_submodule(f"layer{i + 1}") for i in range(len(self.arch.num_blocks))]

    def features(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to the maps (N, C', H', W') of the last stage, before the pooling."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        if self.training and self.segment_lengths is not None:
            stages = self.stages()
            for stage, length in zip(stages, self.segment_lengths, strict=True):
                x = self.run_checkpointed(
                    *(list(stage.children()), x, length),
                    keep_last=stage is stages[-1],
                    own=self.has_custom_blocks,
                )
        else:
            x = run_blocks(self.stages(), x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to class scores (N, num_classes), before the softmax."""
        scores: Tensor = self.fc(self.features(x).mean(dim=(2, 3)))
        return scores
