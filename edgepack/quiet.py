"""Keeps the talk of C++ libraries from standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what C++ writes to file descriptor 2; it is shown after all where the block fails."""
    import tempfile

    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as talk:
        os.dup2(talk.fileno(), 2)
        try:
            yield
        except Exception:
            talk.seek(0)
            os.write(kept, talk.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
