"""The link checker for the documentation, which `make lint` runs."""

import subprocess
import sys
from pathlib import Path

import check_links
import pytest

PAGE = """# A page
See [above](#a-page), [twice](#notes-1), [F(x)](other.md#how-large-is-fx),
![picture](folder/picture.png "title") and <img src="folder/picture.png">, not `[code](gone.md)`.
```
[a block](gone.md)
```
[the web](https://example.org/gone.md), [a folder](folder)
## Notes
## Notes
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/picture.png").write_bytes(b"")
    (tmp_path / "other.md").write_text("## How large is `F(x)`?\n", "utf-8")
    page = tmp_path / "page.md"
    page.write_text(PAGE, "utf-8")
    return page


def test_links_that_lead_somewhere_are_left_alone(page: Path) -> None:
    assert list(check_links.broken_links(page)) == []


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("[gone](gone.md)", "there is no gone.md"),
        ("[gone]: folder/gone.md", "there is no folder/gone.md"),
        ("![gone](folder/gone.png)", "there is no folder/gone.png"),
        ('<img width="9" src="gone.png">', "there is no gone.png"),
        ("[gone](#gone)", "page.md has no heading #gone"),
        ("[gone](other.md#gone)", "other.md has no heading #gone"),
        ("[gone](#notes-2)", "page.md has no heading #notes-2"),
    ],
)
def test_a_broken_link_is_named_with_its_line(page: Path, link: str, found: str) -> None:
    page.write_text(f"{page.read_text('utf-8')}{link}\n", "utf-8")
    assert list(check_links.broken_links(page)) == [f"{page}:10: {found}"]


def test_a_broken_link_fails_the_command(page: Path) -> None:
    page.write_text("[gone](gone.md)", "utf-8")
    command = [sys.executable, check_links.__file__, str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, f"{page}:1: there is no gone.md\n")
