"""Random streams that depend only on their purpose.

Every random choice of a run is drawn from a generator seeded by its purpose: the initial
weights of one layer, the sample order of one epoch, the crops of one iteration. No stream
continues from one iteration to the next, so none must be saved for a run to resume exactly.
"""

import hashlib

import torch


def stable_seed(*parts: int | str) -> int:
    """Hash `parts` to a 63-bit seed, which is the same on every machine and Python version."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Make a CPU generator seeded by `parts`, which name its purpose."""
    return torch.Generator().manual_seed(stable_seed(*parts))
