"""Two hosts, simulated by connected network namespaces, with one torchrun node each."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.commands import TINY, run_folders
from support.studies import untimed_record
from support.training import assert_equal_states, final_state
from support.waiting import wait_until

from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished

TORCHRUN = Path(sys.executable).with_name("torchrun")
LIMIT = 90  # seconds
RENDEZVOUS = "10.77.0.1:29511"
RUN = (*TINY, "recipe.iterations=600", "runtime.checkpoint_every=20", "runtime.log_every=20")

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="network namespaces need root and iproute2",
    ),
]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """The names of two network namespaces with the addresses 10.77.0.1 and 10.77.0.2."""
    names = [f"resnet-{os.getpid()}-{number}" for number in (1, 2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip(
            "link",
            "add",
            "cable",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            names[1],
        )
    except subprocess.CalledProcessError as error:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        pytest.skip(f"no network namespaces can be made here: {error.stderr.decode().strip()}")
    try:
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            with suppress(subprocess.CalledProcessError, ProcessLookupError):
                lose_power(name)
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)


def node(hosts: list[str], number: int, folder: Path) -> "subprocess.Popen[str]":
    """Start torchrun with one process on one host; it waits for the other host."""
    command = [
        *("ip", "netns", "exec", hosts[number], str(TORCHRUN), "--nnodes=2", "--nproc-per-node=1"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={RENDEZVOUS}", "--rdzv-id=both"),
        # Otherwise a node would not know that the address of the rendezvous is its own.
        *(f"--rdzv-conf=is_host={int(number == 0)}", f"--local-addr=10.77.0.{number + 1}"),
        "--max-restarts=3",
        *("-m", "resnet_degradation.train", *RUN),
    ]
    return subprocess.Popen(
        command,
        cwd=folder,
        # The interface that Gloo uses; by default it would look up the host's name.
        # Restarted processes meet in a new store, without the entries of the dead ones.
        env=os.environ | {"GLOO_SOCKET_IFNAME": "cable", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def lose_power(host: str) -> None:
    """Kill every process of a host, also torchrun's workers, which have separate sessions."""
    listed = subprocess.run(["ip", "netns", "pids", host], check=True, capture_output=True)
    for process in map(int, listed.stdout.split()):
        os.kill(process, signal.SIGKILL)


def only(folder: Path) -> Path:
    (found,) = run_folders(folder)
    return found


def together(hosts: list[str], folder: Path) -> list[str]:
    """Train the run on both hosts; return the output of both nodes."""
    nodes = [node(hosts, number, folder) for number in (0, 1)]
    said = [process.communicate(timeout=LIMIT)[0] for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0], "\n".join(said)
    return said


def test_two_hosts_train_one_run_also_if_one_goes_down(hosts: list[str], tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    said = together(hosts, tmp_path / "whole")
    whole = only(tmp_path / "whole")
    assert is_finished(whole)
    assert "2 processes" in said[0] + said[1]
    assert (said[0] + said[1]).count("ResNet-8-width0.5 seed 0, cifar family") == 1

    (tmp_path / "cut").mkdir()
    first, second = (node(hosts, number, tmp_path / "cut") for number in (0, 1))
    wait_until(lambda: run_folders(tmp_path / "cut"))
    folder = only(tmp_path / "cut")
    wait_until(lambda: last_checkpoint_iteration(folder) > 0)
    lose_power(hosts[1])
    second.communicate()
    again = node(hosts, 1, tmp_path / "cut")
    said = [process.communicate(timeout=LIMIT)[0] for process in (first, again)]
    assert [first.returncode, again.returncode] == [0, 0], "\n".join(said)
    assert "resumed after" in said[0] + said[1]
    assert is_finished(folder)
    assert untimed_record(folder) == untimed_record(whole)
    assert_equal_states(final_state(folder), final_state(whole))
