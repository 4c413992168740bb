"""Detects whether the CPU has bfloat16 instructions, and advises on the precision."""

from pathlib import Path

# Flags in /proc/cpuinfo of bfloat16 instructions: x86 with AVX-512 or AMX, and ARM.
BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}


def has_bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the CPU has instructions for bfloat16; None if the system does not say.

    torch's own check asks oneDNN, which also says yes if they are only emulated.
    """
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return not BF16_INSTRUCTIONS.isdisjoint(value.split())
    return None


def precision_note(precision: str, has_bf16: bool | None) -> str | None:
    """Return advice if another precision suits a run on this CPU better, otherwise None."""
    if precision == "tf32":
        return "warning: runtime.precision=tf32 needs a GPU: on a CPU the run computes in fp32"
    if precision == "fp32" and has_bf16:
        return (
            "hint: runtime.precision=bf16 (a separate run) trained 1.6 times as fast on "
            "processors like this (docs/speed.md)"
        )
    if precision == "bf16" and has_bf16 is False:
        return (
            "warning: this processor has no bf16 instructions: runtime.precision=bf16 is slower "
            "than fp32 here"
        )
    return None
