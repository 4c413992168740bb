"""The optimizer is torch's, bit for bit, and does not load torch's compiler."""

import subprocess
import sys
from pathlib import Path

import torch
from support.commands import TINY

from resnet_degradation.training.sgd import SGD


def test_steps_and_state_are_those_of_torch() -> None:
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    results = []
    for optimizer_class in (SGD, torch.optim.SGD):
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(5, 3, generator=generator, requires_grad=True)
        optimizer = optimizer_class([weights], **settings)
        for _ in range(3):
            optimizer.zero_grad()
            (weights**3).sum().backward()
            optimizer.step()
        resumed = optimizer_class([weights], **settings)
        resumed.load_state_dict(optimizer.state_dict())
        resumed.step()
        results.append((weights.detach(), resumed.state_dict()))
    (ours, our_state), (theirs, their_state) = results
    assert torch.equal(ours, theirs)
    assert our_state["param_groups"] == their_state["param_groups"]
    assert torch.equal(
        our_state["state"][0]["momentum_buffer"], their_state["state"][0]["momentum_buffer"]
    )


def test_a_run_does_not_import_the_compiler(tmp_path: Path) -> None:
    program = """
import sys
from resnet_degradation.cli.commands import train
try:
    train()
finally:
    assert "torch" in sys.modules and "torch._dynamo" not in sys.modules
"""
    command = [sys.executable, "-c", program, *TINY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
