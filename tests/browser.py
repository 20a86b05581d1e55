"""Opens pages in the system's Chromium, headless, and tells what it made of them."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium on this system: pages are not opened in a browser"
)

PROBE = """<script>
addEventListener("load", () => {
  const box = (e) => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  const found = {
    charts: [...document.querySelectorAll("svg.chart")].map((svg) => ({
      title: svg.querySelector("title").textContent, box: box(svg),
      shapes: [...svg.querySelectorAll("rect,circle,path")].filter((e) => box(e)[0] > 0 || box(e)[1] > 0).length,
      outside: [...svg.querySelectorAll("text")].filter((t) => {
        const [a, b] = [t.getBoundingClientRect(), svg.getBoundingClientRect()];
        return a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1;
      }).map((t) => t.textContent),
    })),
    wide: document.documentElement.scrollWidth > innerWidth,
    tables: document.querySelectorAll("table").length,
    sorted: (() => {
      const table = document.querySelector("table.sorts");
      const head = table?.querySelector("th.n");
      head?.querySelector("button").click();
      return head ? [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[head.cellIndex].dataset.v)) : [];
    })(),
    back: getComputedStyle(document.body).backgroundColor,
    alerts: window.alerted || 0,
  };
  document.documentElement.setAttribute("data-found", JSON.stringify(found));
});
</script>"""


@dataclass
class Opened:
    """What the browser found: the probe's answer, and lines of its console."""

    found: dict
    console: list[str]


def open_page(html: str, folder: Path, *flags: str) -> Opened:
    """Open a page with the probe in it."""
    path = folder / "page.html"
    head, mark, tail = html.rpartition("</body>")
    path.write_text(head + PROBE + mark + tail, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1100,900",
         f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    (found,) = re.findall(r'data-found="([^"]*)"', done.stdout)
    text = found.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Opened(json.loads(text), console)
