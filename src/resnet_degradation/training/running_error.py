"""Training loss and error, summed on the device and read only when they are needed."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnet_degradation.distributed.world import ALONE, World


class TrainingError(NamedTuple):
    """Mean loss, and error in percent, over some training images."""

    loss: float
    error: float
    num_images: int


class Meter:
    """Sums over the whole run; each reader gets the mean since it last read.

    `update` leaves everything on the device, so no iteration waits for it. Reading adds up the sums
    of all processes; rank 0 keeps them.
    """

    def __init__(
        self, device: torch.device, readers: tuple[str, ...], world: World = ALONE
    ) -> None:
        self.world = world
        # Sum of losses, number of wrong answers, number of images.
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        # Iterations before the sum of losses stopped being finite; it never becomes finite again.
        self.num_finite = torch.zeros((), dtype=torch.int64, device=device)
        self.last_read = dict.fromkeys(readers, (0.0, 0.0, 0.0))

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (), its logits (B, classes) and its labels (B,)."""
        wrong = (logits.argmax(dim=1) != labels).sum()
        num_images = torch.full_like(wrong, len(labels))
        self.totals += torch.stack([loss.detach().double() * len(labels), wrong, num_images])
        self.num_finite += self.totals[0].isfinite()

    def read(self, reader: str) -> TrainingError:
        """The mean over all processes since `reader` last read."""
        loss, wrong, num_images = self._collect()
        loss0, wrong0, num_images0 = self.last_read[reader]
        self.last_read[reader] = (loss, wrong, num_images)
        count = num_images - num_images0
        return TrainingError((loss - loss0) / count, 100 * (wrong - wrong0) / count, int(count))

    def _collect(self) -> list[float]:
        totals: list[float] = self.world.sum(self.totals).tolist()
        if not self.world.is_main:  # rank 0 has them now
            self.totals.zero_()
        return totals

    def count_finite(self) -> int:
        """The iterations before the loss of any process was first not finite."""
        return int(self.world.all_reduce_min(self.num_finite))

    def state_dict(self) -> dict[str, Any]:
        return {
            "totals": self._collect(),
            "num_finite": self.count_finite(),
            "last_seen": {reader: list(sums) for reader, sums in self.last_read.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.totals.copy_(torch.tensor(state["totals"], dtype=torch.float64))
        if not self.world.is_main:
            self.totals.zero_()
        self.num_finite.fill_(state["num_finite"])
        self.last_read = {name: (s[0], s[1], s[2]) for name, s in state["last_seen"].items()}
