"""The sheet of lesson 18 in a real browser: what the mouse draws is what the kernel is told."""

import re
import shutil
import subprocess

import pytest

from tinyldm_course.lessons import easel

PAGE = """<!doctype html><meta charset="utf-8">
<div class="tinyldm-easel"><input type="text"><div><div id="content"></div></div><textarea></textarea></div>
<pre id="out"></pre>
<script>
HTMLCanvasElement.prototype.setPointerCapture = () => {};  // refuses pointers that are not real
document.getElementById("content").innerHTML = `PAPER`;  // as ipywidgets does
const told = [], area = document.querySelector("textarea");
area.addEventListener("input", () => told.push(area.value));
area.addEventListener("change", () => told.push("changed"));
setTimeout(() => {
  const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
  const mouse = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    clientX: box.left + x * box.width / 64, clientY: box.top + y * box.height / 64, buttons: 1, bubbles: true }));
  mouse("pointerup", 0, 0);
  mouse("pointerdown", 20, 32); mouse("pointermove", 44, 32); mouse("pointerup", 44, 32);
  document.querySelector("[type=checkbox]").checked = true;
  mouse("pointerdown", 32, 20); mouse("pointermove", 32, 44); mouse("pointerup", 32, 44);
  document.querySelector("button").click();
  document.getElementById("out").textContent = told.join("\\n");
}, 300);
</script>"""


def test_what_is_drawn_is_told(tmp_path):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    start = easel.rectangle(14, 14, 50, 50)
    (tmp_path / "page.html").write_text(PAGE.replace("PAPER", easel.paper(start)), encoding="utf-8")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)[1].split()
    assert told[1::2] == ["changed"] * 4
    first, line, erased, cleared = (easel.from_hex(digits)[0] for digits in told[::2])
    assert first.equal(start[0])
    assert line[32, 21:44].all() and line[20:30, 20:44].sum() == 0 and (line >= first).all()
    assert erased[32, 30:34].sum() == 0 and erased[32, 22:27].all()
    assert cleared.sum() == 0
