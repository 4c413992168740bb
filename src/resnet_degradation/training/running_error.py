"""Training loss and error, accumulated on the device and fetched only when asked for."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnet_degradation.distributed.world import ALONE, World


@dataclass(frozen=True)
class Seen:
    """Mean loss, and error in percent, over so many training images."""

    loss: float
    error: float
    num_images: int


class Meter:
    """Totals over the run, of which each reader sees the part since it last looked.

    Nothing is fetched from the device until a reader looks, so no iteration waits for it. What the
    processes of a world have seen is added up then, and kept by rank 0.
    """

    def __init__(
        self, device: torch.device, readers: tuple[str, ...], world: World = ALONE
    ) -> None:
        self.world = world
        # Sum of losses, number of wrong answers, number of images.
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        # Updates before the sum of losses stopped being finite, which is for good.
        self.num_finite = torch.zeros((), dtype=torch.int64, device=device)
        self.last_seen = dict.fromkeys(readers, (0.0, 0.0, 0.0))

    def update(self, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (), its scores (B, classes) and its labels (B,)."""
        wrong = (scores.argmax(dim=1) != labels).sum()
        seen = torch.full_like(wrong, len(labels))
        self.totals += torch.stack([loss.detach().double() * len(labels), wrong, seen])
        self.num_finite += self.totals[0].isfinite()

    def read(self, reader: str) -> Seen:
        """What came since `reader` last looked."""
        loss, wrong, seen = self.collect()
        loss0, wrong0, seen0 = self.last_seen[reader]
        self.last_seen[reader] = (loss, wrong, seen)
        count = seen - seen0
        return Seen((loss - loss0) / count, 100 * (wrong - wrong0) / count, int(count))

    def collect(self) -> list[float]:
        """The totals of all processes, which rank 0 goes on from and the others forget."""
        totals: list[float] = self.world.sum(self.totals).tolist()
        if not self.world.is_main:
            self.totals.zero_()
        return totals

    def count_finite(self) -> int:
        """The updates before a loss, in any process, was not finite for the first time."""
        return int(self.world.all_reduce_min(self.num_finite))

    def state_dict(self) -> dict[str, Any]:
        """The totals and what each reader has seen of them, for a checkpoint."""
        return {
            "totals": self.collect(),
            "num_finite": self.count_finite(),
            "last_seen": {reader: list(seen) for reader, seen in self.last_seen.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self.totals.copy_(torch.tensor(state["totals"], dtype=torch.float64))
        if not self.world.is_main:
            self.totals.zero_()
        self.num_finite.fill_(state["num_finite"])
        self.last_seen = {name: (s[0], s[1], s[2]) for name, s in state["last_seen"].items()}
