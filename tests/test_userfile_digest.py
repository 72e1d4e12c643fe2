"""The digest of a user's file follows what it imports beside it."""

from __future__ import annotations

from pathlib import Path

from edgepack.userfile import digest


def test_the_digest_follows_files_beside(tmp_path: Path) -> None:
    main, beside = tmp_path / "mine.py", tmp_path / "factor.py"
    main.write_text("import os\nfrom factor import FACTOR\n")
    beside.write_text("import mine\nFACTOR = 2\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    before = digest(main)
    (tmp_path / "other.py").write_text("x = 2\n")
    assert digest(main) == before
    beside.write_text("import mine\nFACTOR = 9\n")
    assert digest(main) != before
