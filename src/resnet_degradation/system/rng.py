"""Random streams that depend on their purpose and on nothing else.

Every random choice of a run is drawn from a generator seeded by its purpose: the initial
weights of one layer, the sample order of one epoch, the crops of one iteration. No stream is
ever carried from one iteration to the next, so none has to be saved to resume exactly.
"""

import hashlib

import torch


def stable_seed(*parts: int | str) -> int:
    """A 63-bit seed that is the same for the same parts on every machine and Python version."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by `parts`, which name its purpose."""
    return torch.Generator().manual_seed(stable_seed(*parts))
