"""Plain and residual nets of both families."""

from functools import partial

from torch import Tensor, contiguous_format, nn
from torch.nn import functional as F

from resnet_degradation.config.architectures import Family, find_architecture
from resnet_degradation.nets.activation_checkpointing import run_blocks, run_checkpointed
from resnet_degradation.nets.blocks import (
    BasicBlock,
    Block,
    Bottleneck,
    BottleneckStride,
    Shortcut,
    ShortcutPadding,
    ZeroPaddedIdentity,
)
from resnet_degradation.system.apple_gpu import choose_memory_format


class ResNet(nn.Module):
    """A stem, stages of blocks, global average pooling and one fully connected layer.

    If `residual` is false, it is a plain net: the same layers without shortcuts. The weights have
    torch's default initialization; `nets.build.initialize` applies the paper's.
    """

    def __init__(
        self,
        depth: int,
        residual: bool,
        *,
        family: Family,
        shortcut: Shortcut = "A",
        num_classes: int = 10,
        width: float = 1.0,
        bottleneck_stride: BottleneckStride = "1x1",
        custom_block: type[Block] | None = None,
        shortcut_padding: ShortcutPadding = "behind",
    ) -> None:
        """Build the net; raises ConfigError if the family has no net of this depth.

        depth: number of layers with weights: 6n+2 (CIFAR, section 4.2) or a depth in Table 1.
        shortcut: option A, B or C (section 3.3, Table 3). A plain net ignores it.
        width: multiplies every number of channels. The paper's is 1.
        bottleneck_stride: which layer of a bottleneck has the stride. The paper's is "1x1".
        custom_block: replaces the paper's blocks. It has the same constructor as BasicBlock.
        shortcut_padding: where option A puts its zero channels (see ZeroPaddedIdentity).
        """
        super().__init__()
        self.arch = arch = find_architecture(depth, family)
        self.has_custom_blocks = custom_block is not None
        self.run_checkpointed = run_checkpointed
        # Number of blocks per segment for each stage. None: no activation checkpointing.
        self.segment_lengths: list[int] | None = None
        widths = [max(1, round(channels * width)) for channels in arch.channels]
        channels = widths[0]
        if family == "cifar":
            self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        bottleneck = partial(Bottleneck, stride_on=bottleneck_stride)
        make_block = custom_block or (BasicBlock if arch.block == "basic" else bottleneck)
        for stage, (num_blocks, stage_width) in enumerate(
            zip(arch.num_blocks, widths, strict=True)
        ):
            blocks: list[Block] = []
            for index in range(num_blocks):
                # Each stage except the first starts by halving the size of the feature map.
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(make_block(channels, stage_width, stride, residual, shortcut))
                channels = stage_width * blocks[-1].expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)
        # Settings that cannot be inferred from the shapes of the weights. None: does not apply.
        self.bottleneck_stride = bottleneck_stride if arch.block == "bottleneck" else None
        self.shortcut_padding: ShortcutPadding | None = None
        for module in self.modules():  # set here, because the constructor of Block has no padding
            if isinstance(module, ZeroPaddedIdentity):
                self.shortcut_padding = module.padding = shortcut_padding

    def stages(self) -> list[nn.Module]:
        """The stages in order, each a sequence of blocks."""
        return [self.get_submodule(f"layer{i + 1}") for i in range(len(self.arch.num_blocks))]

    def blocks(self) -> dict[str, Block]:
        """The blocks in order, keyed by name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Block)}

    def features(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the last stage's feature maps (N, C, H', W')."""
        if choose_memory_format(x.device) == contiguous_format:
            x = x.contiguous()  # layers keep the memory format of their input
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        stages = self.stages()
        if not self.training or self.segment_lengths is None:
            return run_blocks(stages, x)
        for stage, length in zip(stages, self.segment_lengths, strict=True):
            x = self.run_checkpointed(
                list(stage.children()),
                x,
                length,
                keep_last=stage is stages[-1],
                preserve_rng=self.has_custom_blocks,
            )
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.fc(self.features(x).mean(dim=(2, 3)))
        return logits
