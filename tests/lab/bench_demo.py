"""What ``make lab`` does: bench a bundle on a virtual Raspberry Pi, over SSH."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from lab import image, keys
from lab.machine import VirtualPi

DEMO = Path("build", "demo")
BUNDLE = DEMO / "digits-rpi4-prune-cluster-qat-int8"
TIMEOUT_S = 900
FOLDERS = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_STATE_HOME": ".local/state",
}


def main(options: list[str]) -> int:
    """Make the demo's bundle where there is none, and bench it; the exit code is edgepack's."""
    if not BUNDLE.is_dir():
        edgepack("demo", "--out", str(DEMO), "--quiet")
    try:
        of = image.build("arm64")
    except RuntimeError as error:
        image.say(f"error: {error}")
        return 1
    # It keeps its disk, so that the runtime that was brought there serves the next time, too.
    pi = VirtualPi(of, of.folder / "demo")
    image.say(f"up in {pi.start(fresh=False):.1f} s")
    try:
        with tempfile.TemporaryDirectory() as home:
            code = bench(pi, Path(home), options)
        pi.as_root(["sync"])
    finally:
        pi.stop()
    return code


def bench(pi: VirtualPi, home: Path, options: list[str]) -> int:
    """Bench the bundle on a board, with a home folder that has nothing but the way to it."""
    keys.client_home(home, host=pi.host, user=pi.user, key=pi.key, known_hosts=pi.known_hosts)
    address = f"{pi.user}@{pi.host}:{pi.port}"
    image.say(f"edgepack bench {BUNDLE} --device {address}")
    begin = time.monotonic()
    code = edgepack("bench", str(BUNDLE), "--device", address, "--no-history", *options, home=home)
    image.say(f"from probe to table in {time.monotonic() - begin:.0f} s; off")
    return code


def edgepack(*words: str, home: Path | None = None) -> int:
    """Run edgepack, with the user's own cache and settings under whatever home folder."""
    kept = {name: os.environ.get(name) or str(Path.home() / f) for name, f in FOLDERS.items()}
    environment = {**os.environ, **kept, "HOME": str(home or Path.home())}
    command = [sys.executable, "-m", "edgepack", *words]
    return subprocess.run(command, env=environment, timeout=TIMEOUT_S).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
