"""Compiling C into a library for this processor, and loading it."""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-std=c11", "-fopenmp", "-fPIC")
SECONDS = 60  # that a compiler may take


def load(source: Path) -> ctypes.CDLL | None:
    """The library of a C file, compiled if that was not done before; None if it cannot be had.

    OpenMP's functions are those that torch has loaded, so that both share their threads.
    """
    words = shlex.split(os.environ.get("CC") or "cc")
    if not words or (compiler := shutil.which(words[0])) is None:
        return None
    try:
        library = _cache() / f"{source.stem}-{_fingerprint(source, compiler)}.so"
        if not library.is_file():
            _compile(compiler, source, library)
        return ctypes.CDLL(str(library), mode=os.RTLD_NOW)
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None  # RuntimeError: there is no home folder


def _compile(compiler: str, source: Path, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        compiled, linked = Path(folder) / "compiled.o", Path(folder) / "linked.so"
        for command in (
            [compiler, *FLAGS, "-c", str(source), "-o", str(compiled)],
            # Without -fopenmp: it would bring another OpenMP library, with threads of its own.
            [compiler, "-shared", str(compiled), "-lm", "-o", str(linked)],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        linked.replace(library)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "resnet-degradation"


def _fingerprint(source: Path, compiler: str) -> str:
    """What a compiled library depends on: source, compiler, flags and, on Linux, the processor."""
    version = subprocess.run(
        [compiler, "--version"], check=True, capture_output=True, timeout=SECONDS
    ).stdout
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.is_file() else []
    processor = [line for line in lines if line.startswith(("flags", "Features"))][:1]
    parts = (
        source.read_bytes(),
        version,
        *map(str.encode, (*FLAGS, platform.machine(), *processor)),
    )
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).hexdigest()
