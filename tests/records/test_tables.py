"""Errors about unreadable tables say what is wrong with them."""

import errno
from pathlib import Path
from typing import Any

import pytest

from resnet_degradation.records.layers import read_responses
from resnet_degradation.system.errors import UserError


def test_a_table_without_read_permission_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"responses\.csv is missing: "):
        read_responses(tmp_path)

    def refuse(file: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied: .*responses\.csv\)"):
        read_responses(tmp_path)
