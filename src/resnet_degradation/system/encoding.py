"""Handles file names and printed text in any locale."""

import codecs
import io
import os
import re
import sys

# Maps the non-ASCII characters that this program prints to their replacements.
ASCII_REPLACEMENTS = {"±": "+-", "†": "*", "…": "..."}


def accept_any_locale() -> None:
    """Treat file names as UTF-8 and print to any stream; call this when a program starts.

    If file names are ASCII (in the C locale with PYTHONUTF8=0), a name such as fotos-ü cannot be
    recorded. The program then restarts in Python's UTF-8 mode. The standard streams keep their
    encoding.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if is_ascii and os.environ.get("PYTHONUTF8") != "1":
        if sys.stdout is not None:  # it may be closed
            os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    use_ascii_fallback()


def use_ascii_fallback() -> None:
    """Make standard streams print ASCII for what they cannot encode: +- for ±, else escapes."""
    codecs.register_error("resnet-degradation", _replace_with_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's streams have another class
            stream.reconfigure(errors="resnet-degradation")


def _replace_with_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    unencodable = error.object[error.start : error.end]
    replacements = (
        ASCII_REPLACEMENTS.get(c) or c.encode("ascii", "backslashreplace").decode()
        for c in unencodable
    )
    return "".join(replacements), error.end


def escape_non_utf8(name: str) -> str:
    """Write the bytes of a file name that are not UTF-8 in hexadecimal, such as %FC."""
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", name)
