"""A sheet of paper for the mouse: what the reader draws goes to a function, and its picture stands beside it.

    easel(paint, rectangle(14, 14, 50, 50), caption="a large red square")      # paint: (drawing, caption) -> picture

It needs nothing but ipywidgets. A canvas stands in an HTML widget and draws by itself, in the browser: its event
handlers are attributes, which every notebook runs, while scripts in a widget are not run. When the mouse is released,
it writes its pixels into a hidden text box beside it, and a text box is what the kernel hears of.

    canvas ──pointerup──► pixels as 1,024 hexadecimal digits ──► textarea ──ipywidgets──► kernel ──► drawing (3, 64, 64)

Without a kernel there is nothing: show some still pictures first, as with a dial.
"""

import base64
import html
import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from tinyldm_course.lessons import plots

SIZE, SHOWN = 64, 288  # pixels of a drawing's side; of its place on the page
LINE = 2.4  # the width of the lines that the ControlNet of lesson 18 was trained on
Paint = Callable[[Tensor, str], Tensor]

# The canvas's own code. `this` is the canvas; `pen` keeps where the pointer was.
AT = "const b = this.getBoundingClientRect(), x = (event.clientX - b.left) / b.width * {s}, \
y = (event.clientY - b.top) / b.height * {s}, c = this.getContext('2d');".format(s=SIZE)
STROKE = f"""const erase = this.parentNode.querySelector('input').checked;
c.lineCap = 'round'; c.lineWidth = erase ? 8 : {LINE}; c.strokeStyle = erase ? 'black' : 'white';
c.beginPath(); c.moveTo(...this.pen); c.lineTo(x + 0.01, y); c.stroke(); this.pen = [x, y];"""
DOWN = f"{AT} this.setPointerCapture(event.pointerId); this.pen = [x, y]; {STROKE}"
MOVE = f"if (event.buttons && this.pen) {{ {AT} {STROKE} }}"
SEND = f"""const d = e.getContext('2d').getImageData(0, 0, {SIZE}, {SIZE}).data; let hex = '';
for (let i = 0; i < {SIZE * SIZE}; i += 4) {{ let n = 0;
for (let j = 0; j < 4; j++) n = 2 * n + (d[4 * (i + j)] > 127 ? 1 : 0); hex += n.toString(16); }}
const t = e.closest('.tinyldm-easel').querySelector('textarea'); t.value = hex;
for (const kind of ['input', 'change']) t.dispatchEvent(new Event(kind, {{bubbles: true}}));"""
UP = f"this.pen = null; const e = this; {SEND}"
CLEAR = f"""const e = this.closest('.tinyldm-easel').querySelector('canvas');
e.getContext('2d').clearRect(0, 0, {SIZE}, {SIZE}); {SEND}"""
# A picture that cannot be loaded runs its handler as soon as it stands on the page: so the first drawing comes.
START = f"""const e = this.parentNode.querySelector('canvas'), c = e.getContext('2d'), hex = '{{start}}';
c.fillStyle = 'white'; for (let i = 0; i < {SIZE * SIZE}; i++) if (parseInt(hex[i >> 2], 16) >> (3 - i % 4) & 1)
c.fillRect(i % {SIZE}, Math.floor(i / {SIZE}), 1, 1); this.remove();"""


def rectangle(left: int, top: int, right: int, bottom: int) -> Tensor:
    """Four lines, white on black: (3, 64, 64) in [0, 1]."""
    drawing = torch.zeros(3, SIZE, SIZE)
    drawing[:, top:bottom, left : left + 2] = drawing[:, top:bottom, right - 2 : right] = 1
    drawing[:, top : top + 2, left:right] = drawing[:, bottom - 2 : bottom, left:right] = 1
    return drawing


def to_hex(drawing: Tensor) -> str:
    """A drawing (3, 64, 64) in [0, 1] as 1,024 hexadecimal digits, four pixels each."""
    bits = (drawing[0] > 0.5).flatten().int().tolist()
    return "".join(f"{int(''.join(map(str, bits[i : i + 4])), 2):x}" for i in range(0, SIZE * SIZE, 4))


def from_hex(digits: str) -> Tensor:
    """The drawing (3, 64, 64) of 1,024 hexadecimal digits: 1 on a line, 0 elsewhere.

    Raises: ValueError for anything else.
    """
    if len(digits) != SIZE * SIZE // 4:
        raise ValueError(f"a drawing has {SIZE * SIZE // 4} hexadecimal digits, got {len(digits)}")
    bits = [float(bit) for bit in f"{int(digits, 16):0{SIZE * SIZE}b}"]
    return torch.tensor(bits).view(1, SIZE, SIZE).repeat(3, 1, 1)


def paper(start: Tensor) -> str:
    """The HTML of the canvas, with a first drawing on it."""

    def handler(name: str, code: str) -> str:
        return f'{name}="{html.escape(" ".join(code.split()))}"'

    return (
        f'<canvas width="{SIZE}" height="{SIZE}" role="img" aria-label="A sheet to draw on with the mouse" '
        f'style="width:{SHOWN}px;height:{SHOWN}px;background:black;image-rendering:pixelated;touch-action:none;'
        f'cursor:crosshair" {handler("onpointerdown", DOWN)} {handler("onpointermove", MOVE)} '
        f"{handler('onpointerup', UP)}></canvas>"
        f'<img src="data:," alt="" {handler("onerror", START.format(start=to_hex(start)))}>'
        f'<div><button type="button" {handler("onclick", CLEAR)}>Clear</button> '
        f'<label><input type="checkbox"> erase</label></div>'
    )


def easel(paint: Paint, start: Tensor, caption: str) -> None:
    """Show a sheet to draw on, a box for the caption, and what `paint` makes of both; nothing without a kernel.

    Args:
        paint: (drawing (3, 64, 64) in [0, 1], caption) -> picture (3, 64, 64) in [0, 1], in a second or two.
        start: the first drawing (3, 64, 64).
        caption: the first caption.
    """
    if not plots.in_notebook():
        return
    try:
        import ipywidgets
    except ImportError:
        return
    from IPython.display import display

    hidden = ipywidgets.Textarea(value=to_hex(start), layout=ipywidgets.Layout(display="none"))
    words = ipywidgets.Text(value=caption, continuous_update=False, layout=ipywidgets.Layout(width="36em"))
    picture = ipywidgets.HTML()

    def update(_change: object = None) -> None:
        picture.value = picture_html(paint(from_hex(hidden.value), words.value), words.value)

    for one in (hidden, words):
        one.observe(update, names="value")
    sheets = ipywidgets.HBox([ipywidgets.HTML(paper(start)), picture])
    box = ipywidgets.VBox([words, sheets, hidden])
    box.add_class("tinyldm-easel")
    update()
    display(box)


def picture_html(picture: Tensor, alt: str) -> str:
    """A picture as an HTML image, as large as the sheet."""
    image = Image.fromarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    file = io.BytesIO()
    image.resize((SHOWN, SHOWN), Image.Resampling.NEAREST).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" width="{SHOWN}" style="margin-left:12px" src="data:image/png;base64,{data}">'
