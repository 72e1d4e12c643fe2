"""The page of a comparison in a real browser: bright, dark, on paper, sorted, and quite alone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tradeoff_facts import facts, timing, variant

from edgepack.reports import page

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What Chromium is called on different systems."""

PROBE = """
<script>
const rows = () => [...document.querySelectorAll("tbody tr")];
const names = () => rows().map((r) => r.children[0].textContent);
const before = names();
const head = [...document.querySelectorAll("th")].find((h) => h.textContent === "bytes");
head.click();
const up = names();
head.click();
const style = getComputedStyle(document.body);
document.body.dataset.probe = JSON.stringify({
  before, up, down: names(), paper: style.backgroundColor, ink: style.color,
  wide: document.documentElement.scrollWidth, window: window.innerWidth,
  plots: document.querySelectorAll("svg .dot, svg .best").length, rows: rows().length,
  pwned: window.pwned === true, sorted: head.getAttribute("aria-sort"),
});
</script>
"""

EVIL = '<script>window.pwned = true</script><img src="http://127.0.0.1:9/x" onerror="pwned=1">'


class Links(HTMLParser):
    """Collects the tags of a page, and what they would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser; where there is none, the tests are skipped."""
    found = next(filter(None, map(shutil.which, NAMES)), "")
    if not found:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    return found


@pytest.fixture(scope="module")
def text() -> str:
    """A page of three variants, one with a hostile name."""
    rows = [
        variant("prune 50 %", timing=timing(0.5)),
        variant(EVIL, size_bytes=20_000, timing=timing(0.8), value=0.8),
        variant("int8", size_bytes=30_000, timing=timing(0.9), value=0.94),
    ]
    return page.page(facts(*rows), f"net.keras {EVIL}", [f"a note\n  hint: {EVIL}"])


def browse(chromium: str, path: Path, *options: str) -> str:
    """What Chromium prints for a file; it can reach nothing."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    done = subprocess.run(
        [chromium, *words, profile, *options, path.as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def probe(chromium: str, text: str, folder: Path, *options: str) -> dict[str, Any]:
    """What a script finds that is let into a copy of the page, without its policy."""
    path = folder / "probed.html"
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    path.write_text(bare.replace("</body>", f"{PROBE}</body>"))
    dumped = browse(chromium, path, "--window-size=1000,800", "--dump-dom", *options)
    found = re.search(r'data-probe="([^"]*)"', dumped)
    assert found, dumped[:500]
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


def test_the_page_reads_well_and_sorts(chromium: str, text: str, tmp_path: Path) -> None:
    found = probe(chromium, text, tmp_path)
    assert found["rows"] == 4
    assert found["plots"] == 12  # four models in three plots
    assert found["before"] == ["0", "1", "2", "3"]
    assert found["up"] == ["2", "1", "3", "0"]
    assert found["down"] == ["0", "3", "1", "2"]
    assert found["sorted"] == "descending"
    assert found["wide"] <= found["window"]  # only the table itself scrolls
    assert found["paper"] == "rgb(255, 255, 255)"
    assert not found["pwned"]


def test_a_dark_browser_gets_a_dark_page(chromium: str, text: str, tmp_path: Path) -> None:
    found = probe(chromium, text, tmp_path, "--blink-settings=preferredColorScheme=0")

    def brightness(color: str) -> int:
        return sum(map(int, re.findall(r"\d+", color)[:3]))

    assert brightness(found["paper"]) < 100
    assert brightness(found["ink"]) > 600


def test_the_page_needs_nothing_else_and_lets_nothing_in(
    chromium: str, text: str, tmp_path: Path
) -> None:
    found = Links()
    found.feed(text)
    assert found.links == []
    assert found.tags.count("script") == 1
    assert "url(" not in text
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", '<script>document.title = "let in"</script></body>'))
    dumped = browse(chromium, path, "--dump-dom")
    assert "<title>let in</title>" not in dumped  # its policy knows one script only
    assert 'tabindex="0"' in re.search(r"<th [^>]*>bytes</th>", dumped)[0]  # type: ignore[index]


def test_the_page_prints_on_a_few_sheets(chromium: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(text)
    browse(chromium, path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 2
