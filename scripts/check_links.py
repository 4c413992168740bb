"""Check relative links, anchors and pictures in the documentation; part of `make lint`.

python scripts/check_links.py [FILE ...]
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "outputs/reference/**/*.md")
CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
INLINE_CODE = re.compile(r"`[^`\n]*`")
# Match [text](target "title"), [text]: target, and href or src in HTML.
LINK = re.compile(
    r"\]\(\s*<?([^)>\s]+)|^\[[^]]+\]:\s*(\S+)|\b(?:href|src)=\"([^\"]+)\"", re.MULTILINE
)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def blank_out(code: re.Pattern[str], text: str) -> str:
    """Replace code with blanks, so that lines keep their numbers."""
    return code.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def find_anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes from headings, and the anchors in HTML."""
    found, seen = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)), Counter[str]()
    for heading in HEADING.findall(blank_out(CODE_BLOCK, text)):
        shown = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken_links(document: Path) -> Iterator[str]:
    """Yield a message with file and line number for each link to a missing file or anchor."""
    text = blank_out(INLINE_CODE, blank_out(CODE_BLOCK, document.read_text("utf-8")))
    for link in LINK.finditer(text):
        target = next(filter(None, link.groups()))
        if re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.IGNORECASE):
            continue  # not in this repository
        path, _, anchor = unquote(target).partition("#")
        file = document.parent / path if path else document
        where = f"{document}:{text.count(chr(10), 0, link.start()) + 1}"
        if not file.exists():
            yield f"{where}: there is no {path}"
        elif (
            anchor and file.suffix == ".md" and anchor not in find_anchors(file.read_text("utf-8"))
        ):
            yield f"{where}: {path or document.name} has no heading #{anchor}"


if __name__ == "__main__":
    named = [Path(name) for name in sys.argv[1:]]
    documents = named or [file for pattern in DOCUMENTS for file in sorted(ROOT.glob(pattern))]
    broken = [line for document in documents for line in broken_links(document)]
    print("\n".join(broken) or f"every relative link of {len(documents)} documents leads somewhere")
    sys.exit(bool(broken))
