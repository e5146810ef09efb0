"""The report in a real browser: it has all sections, shows every image, and sends no network request."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sheep.report import build
from tests.unit.report.report_example import example

SECTIONS = (
    "answer",
    "groups",
    "agreement",
    "changes",
    "variants",
    "ethograms",
    "sheets",
    "attention",
    "finetunes",
    "errors",
    "provenance",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
PROBE = """
<script>
addEventListener("load", () => {
  const broken = [...document.images].filter(image => !(image.complete && image.naturalWidth > 20)).length;
  const requested = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length;
  const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.body.dataset.probe = `images=${document.images.length} broken=${broken} requested=${requested} over=${over}`;
});
</script>
"""


@pytest.fixture(scope="module")
def browser() -> str:
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no headless browser on PATH (looked for {', '.join(_NAMES)})")
    return path


@pytest.fixture(scope="module")
def page() -> str:
    return build(example())[0]


def dump(browser: str, page: Path, profile: Path, width: int) -> str:
    command = [
        browser,
        *_FLAGS,
        f"--user-data-dir={profile}",
        f"--window-size={width},900",
        "--dump-dom",
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_browser_keeps_the_page_as_written(browser: str, page: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    dom = dump(browser, path, tmp_path / "profile", 1100)
    assert tuple(re.findall(r'<section id="(\w+)">', dom)) == SECTIONS
    assert dom.count("<img") == page.count("<img") == 16
    assert not re.search(r"(src|href)=[\"']?\s*(https?:)?//", dom)
    assert "<script" not in dom
    text = html.unescape(re.sub(r"<[^>]+>", " ", dom[dom.index("<body") :]))
    assert 'pen<b>3</b>/"day&1" $x_1$.mp4' in text
    assert "The groups differ in 2 of 6 labels: lying, standing." in text


@pytest.mark.parametrize("width", [1100, 500])
def test_every_image_shows_and_the_page_fits(browser: str, page: str, tmp_path: Path, width: int) -> None:
    """A copy of the page gets a probe, which its policy has to allow; Chromium's narrowest window has 500 px."""
    probed = page.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';").replace(
        "</body>", PROBE + "</body>"
    )
    path = tmp_path / "report.html"
    path.write_text(probed, encoding="utf-8")
    dom = dump(browser, path, tmp_path / "profile", width)
    probe = re.search(r'data-probe="([^"]*)"', dom)
    assert probe
    assert probe.group(1) == "images=16 broken=0 requested=0 over=0"
