"""Handles file names and printed text under any locale."""

import codecs
import io
import os
import re
import sys

# The characters outside ASCII that this program prints, and their replacements.
IN_ASCII = {"±": "+-", "†": "*", "…": "..."}


def accept_any_locale() -> None:
    """Treat file names as UTF-8 and print to any stream; call this when a program starts.

    Where file names would be ASCII (the C locale with PYTHONUTF8=0), a name such as fotos-ü could
    not be recorded, so the program restarts in Python's UTF-8 mode. The standard streams keep their
    encoding.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if is_ascii and os.environ.get("PYTHONUTF8") != "1":
        if sys.stdout is not None:  # it may be closed
            os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    ascii_fallback()


def ascii_fallback() -> None:
    """Replace what a standard stream cannot encode by ASCII: ± by +-, others by escape codes."""
    codecs.register_error("resnet-degradation", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's streams have another class
            stream.reconfigure(errors="resnet-degradation")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    refused = error.object[error.start : error.end]
    printed = (IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in refused)
    return "".join(printed), error.end


def as_text(name: str) -> str:
    """A file name in which bytes that are not UTF-8 are written in hexadecimal, such as %FC."""
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", name)
