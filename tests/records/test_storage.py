"""Full disks and read-only or missing folders: one line of error, and the last checkpoint stays."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from support.commands import TINY, forked, run_folders
from support.training import Tiny, everything_in, without_times
from support.waiting import wait_until

from resnet_degradation.config.identity import run_folder
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.records.lock import lock_owner, run_lock
from resnet_degradation.records.run_folder import checkpoint_files, last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.errors import ConfigError, RecordError, UserError, explain
from resnet_degradation.training import session

pytestmark = pytest.mark.long

resource = pytest.importorskip("resource", reason="limits are set as on POSIX systems")
fcntl = pytest.importorskip("fcntl", reason="files are locked as on POSIX systems")
BIN = Path(sys.executable).parent
RUN = (*TINY, "recipe.iterations=60", "runtime.checkpoint_every=20", "runtime.log_every=5")
LONG = (*RUN, "recipe.iterations=100000")


def start(folder: Path, *overrides: str, **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [str(BIN / "resnet-train"), *overrides],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def said(process: "subprocess.Popen[str]") -> str:
    """The only line that a command prints; it must end with code 2."""
    _, err = process.communicate(timeout=60)
    return line_of(process.returncode, err)


def refused(folder: Path, *overrides: str, prepare: Callable[[], None] | None = None) -> str:
    """The only line that `resnet-train` prints in this folder; it must end with code 2."""
    done = forked(folder, "resnet-train", *overrides, prepare=prepare)
    return line_of(done.returncode, done.stderr)


def line_of(code: int, err: str) -> str:
    assert code == 2, err
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


def trained(folder: Path, *overrides: str, prepare: Callable[[], None] | None = None) -> None:
    """Run `resnet-train` in this folder; it must succeed."""
    done = forked(folder, "resnet-train", *overrides, prepare=prepare)
    assert done.returncode == 0, done.stderr


def wait_for_checkpoint(folder: Path) -> None:
    wait_until(lambda: list(folder.rglob("iteration-*40-*.pt")))


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))


def test_a_checkpoint_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    """The limit on the size of files is only too small for checkpoints."""
    line = refused(tmp_path, *RUN, prepare=limit_files)
    assert "cannot continue (File too large: outputs/" in line
    assert "It has no checkpoint yet. Once the cause is fixed, the same command starts" in line
    (folder,) = run_folders(tmp_path)
    assert not list(folder.rglob("*.tmp"))
    whole = tmp_path / "whole"
    whole.mkdir()
    for where in (tmp_path, whole):
        trained(where, *RUN)
    (one, other) = sorted(run_folders(tmp_path))
    assert without_times(one) == without_times(other)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 4 MB; the test is skipped if it cannot be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.name != "posix" or mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted: {done.stderr}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return filler


def test_a_disk_that_fills_up_keeps_the_last_good_state(small_disk: Path) -> None:
    process = start(small_disk, *LONG)
    wait_for_checkpoint(small_disk)
    filler = fill(small_disk)
    line = said(process)
    (folder,) = run_folders(small_disk)
    newest = checkpoint_files(folder)[0]
    assert "No space left on device" in line
    assert f"Its last good checkpoint is {newest.name}" in line
    assert not list(folder.rglob("*.tmp"))
    before = last_checkpoint_iteration(folder)
    assert "No space left on device" in refused(small_disk, *LONG)  # the same error again
    assert last_checkpoint_iteration(folder) == before
    filler.unlink()
    process = start(small_disk, *LONG)
    wait_until(lambda: last_checkpoint_iteration(folder) > before)
    process.terminate()
    process.communicate()
    assert process.returncode == 143


def test_a_read_only_disk_is_named_and_a_finished_run_on_it_is_found(small_disk: Path) -> None:
    trained(small_disk, *RUN)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = everything_in(small_disk)
    assert "Read-only file system: " in refused(small_disk, *RUN, "seed=1")
    trained(small_disk, *RUN)
    assert everything_in(small_disk) == before


def drop_root_permissions() -> None:
    """Take the permission to access every file from this process of root (Linux)."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the version of the call, and this process
    capabilities = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, capabilities) == 0
    for kind in (0, 1):  # effective, permitted
        capabilities[kind] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, capabilities) == 0


@pytest.mark.skipif(
    sys.platform != "linux" and os.geteuid() == 0, reason="root ignores permissions"
)
def test_folders_that_may_not_be_written_or_read_are_named(tmp_path: Path) -> None:
    trained(tmp_path, *RUN)
    (folder,) = run_folders(tmp_path)
    (folder / "summary.json").unlink()
    before = everything_in(folder)
    for path, mode, expected in (
        (folder, 0o555, "config.yaml). Its last good checkpoint is iteration-000000060-"),
        (folder / "checkpoints", 0o000, "Permission denied: "),
        (checkpoint_files(folder)[0], 0o000, "Permission denied: "),
        (folder, 0o000, "Permission denied: "),
        (tmp_path / "outputs/.locks", 0o000, "Permission denied: "),
    ):
        usual = path.stat().st_mode
        path.chmod(mode)
        try:
            line = refused(tmp_path, *RUN, prepare=drop_root_permissions)
            assert "Permission denied: " in line
            assert expected in line
        finally:
            path.chmod(usual)
        assert everything_in(folder) == before
    trained(tmp_path, *RUN, prepare=drop_root_permissions)


@pytest.mark.parametrize("after", [4, 5, 11])
def test_a_run_folder_that_is_deleted_under_a_run_is_one_line(tiny: Tiny, after: int) -> None:
    class Deleting(RunProgress):
        def advance(self, done: int) -> None:
            if done == after:
                shutil.rmtree(run_folder(config))

    config = tiny()
    with pytest.raises(RecordError, match="No such file or directory"):
        session.train(config, Deleting(Console(quiet=True)))
    assert not (run_folder(config) / "summary.json").exists()


def test_a_disk_that_is_full_from_the_start_is_one_line(
    small_disk: Path, digits_folder: Callable[..., Path]
) -> None:
    fill(small_disk)
    assert "No space left on device" in refused(small_disk, *RUN)
    streamed = ("data=imagenet", "depth=18", "data.image_size=64", "recipe.batch_size=6")
    root = f"data.root={digits_folder(size=24)}"
    assert "No space left on device" in said(start(small_disk, *RUN, *streamed, root))


@pytest.mark.slow
def test_images_that_vanish_under_a_run_are_named(
    tmp_path: Path, digits_folder: Callable[..., Path]
) -> None:
    root = digits_folder(size=24)
    overrides = (
        *LONG, "data=imagenet", f"data.root={root}", "data.image_size=16", "depth=18",
        "width=0.125", "recipe.batch_size=6", "recipe.pad=0",
    )  # fmt: skip
    process = start(tmp_path, *overrides)
    wait_for_checkpoint(tmp_path)
    away = root.rename(root.with_name("away"))
    assert f"cannot read the image {root}/" in said(process)
    (folder,) = run_folders(tmp_path)
    before = last_checkpoint_iteration(folder)
    assert before >= 40
    assert "no images: looked for the folder" in refused(tmp_path, *overrides)
    assert last_checkpoint_iteration(folder) == before
    away.rename(root)
    process = start(tmp_path, *overrides)
    wait_until(lambda: last_checkpoint_iteration(folder) > before)
    process.kill()
    process.wait()


def test_a_failed_write_of_any_file_is_one_line_and_can_be_repeated(
    tiny: Tiny, silent: RunProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of fsync fails once."""
    config, fsync = tiny(), os.fsync
    fail_at = 0
    while not is_finished(run_folder(config)):
        fail_at += 1
        calls = 0

        def failing(descriptor: int, fail_at: int = fail_at) -> None:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            session.train(config, silent)
        except (UserError, OSError) as error:
            # The error is explained, so it is not reported as a bug.
            assert "No space left on device: " in (explain(error) or "")
        if fail_at > 40:
            pytest.fail("it does not get on")
    assert fail_at > 4
    assert not list(run_folder(config).rglob("*.tmp"))


@pytest.fixture(params=["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks and hard links; the parameter is its error number."""

    def refuse(*_arguments: object, **_more: object) -> None:
        number = getattr(errno, request.param)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("without_locks")
def test_without_file_locks_a_run_says_what_is_lost_and_how_to_continue(
    tiny: Tiny, silent: RunProgress
) -> None:
    config = tiny()
    with pytest.raises(ConfigError) as refused:
        session.train(config, silent)
    message = str(refused.value)
    assert f"{config.output_dir}/.locks is on a file system without locks" in message
    assert "so two processes could train the same run at once" in message
    assert "set runtime.lock to a folder on another file system, or set runtime.lock=off" in message
    assert not run_folder(config).exists()
    off = tiny("runtime.lock=off")
    with pytest.warns(UserWarning, match=r"runtime\.lock=off: nothing keeps two processes"):
        session.train(off, silent)
    assert run_folder(off) == run_folder(config)
    assert is_finished(run_folder(off))
    assert lock_owner(run_folder(off), off.output_dir, off.runtime.lock) is None


def test_locks_in_another_folder_hold_runs_apart_and_only_the_same_ones(
    tiny: Tiny, tmp_path: Path, silent: RunProgress
) -> None:
    locks = f"runtime.lock={tmp_path / 'locks'}"
    config, elsewhere = tiny(locks), tiny(locks, f"output_dir={tmp_path / 'others'}")
    held = (run_folder(config), config.output_dir, config.runtime.lock)
    with run_lock(*held):
        assert lock_owner(*held) == os.getpid()
        with pytest.raises(UserError, match=f"is being trained by process {os.getpid()} on "):
            session.train(config, silent)
        session.train(elsewhere, silent)  # a run with the same name in another folder
    assert lock_owner(*held) is None
    session.train(config, silent)
    assert is_finished(run_folder(config))
    assert not (tmp_path / "outputs/.locks").exists()


def test_a_folder_for_locks_that_cannot_be_written_in_is_named(
    tiny: Tiny, tmp_path: Path, silent: RunProgress
) -> None:
    (tmp_path / "locks").touch()
    config = tiny(f"runtime.lock={tmp_path / 'locks'}")
    with pytest.raises(ConfigError, match=r"runtime\.lock=\S*/locks is not a writable folder"):
        session.train(config, silent)


@pytest.mark.parametrize("value", ["of", "true", "false", "none"])
def test_what_is_no_folder_for_locks_is_refused(tiny: Tiny, value: str) -> None:
    with pytest.raises(ConfigError, match="it must be on, off or a folder"):
        tiny(f"runtime.lock={value}")


LOCKS_UNSUPPORTED = """
#include <errno.h>
int flock(int file, int operation) { errno = ENOLCK; return -1; }
int link(const char *from, const char *to) { errno = EPERM; return -1; }
int linkat(int a, const char *from, int b, const char *to, int flags) { errno = EPERM; return -1; }
"""


@pytest.mark.slow
def test_commands_work_without_locks(tmp_path: Path) -> None:
    """In a process whose system calls fail, with a run of two processes, which need its lock."""
    (tmp_path / "no_locks.c").write_text(LOCKS_UNSUPPORTED)
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("calls are made to fail by a C library that Linux loads first")
    library = tmp_path / "no_locks.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "no_locks.c")]
    subprocess.run(command, check=True)
    environment = os.environ | {"LD_PRELOAD": str(library)}
    line = said(start(tmp_path, *RUN, env=environment))
    assert "outputs/.locks is on a file system without locks (No locks available)" in line
    process = start(tmp_path, *RUN, "runtime.lock=off", "runtime.devices=2", env=environment)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert [line for line in err.splitlines() if "runtime.lock=off" in line] == [
        "warning: runtime.lock=off: nothing keeps two processes from training the same run at "
        "once, which would corrupt its files"
    ]
    (folder,) = run_folders(tmp_path)
    assert is_finished(folder)
