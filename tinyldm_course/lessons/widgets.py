"""A dial next to a strip of still pictures: interactive with a kernel, readable without one.

    def noised(ax, t):                                   # a pure function: it plots on `ax` and does nothing else
        plots.plot_image(ax, to_unit(schedule.q_sample(...)), f"t = {t}")

    widgets.dial(noised, {"t": range(0, 1000, 10)}, strip=[{"t": t} for t in (0, 250, 500, 999)])

The strip is always shown. The dial is added if ipywidgets and a running kernel are available; both call the same
function. Numbers get a slider, words a menu, and `str` a text box. The picture follows while a slider is dragged:
ipywidgets sends a new value when the kernel has answered the one before, and skips those in between. ipywidgets hides
exceptions inside a callback, so the lessons' plotting functions are tested directly.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt

from tinyldm_course.lessons import plots

QUICK = 1  # compression of a dial's picture, which is thrown away
# A notebook that was saved and opened again has its strip, and no dial. JupyterLab would write an error there.
NO_LOST_DIALS = "<style>.jupyter-widgets.jp-OutputArea-output:not(:has(*)) { display: none; }</style>"


def dial(
    plot: Callable[..., None],
    dials: dict[str, Sequence | type[str]],
    *,
    strip: Sequence[dict[str, Any]],
    size: tuple[float, float] = (2.2, 2.4),
    columns: int = 0,
) -> None:
    """Show `plot` at some settings, and a control for each of `dials` if there is a kernel.

    Args:
        plot: (ax, **setting) -> None, plots one picture in at most half a second.
        dials: name of an argument of `plot` -> the values that it can take, in order; `str` for any words.
        strip: the settings of the still pictures; the dials start at the first.
        size: of one picture of the strip, in inches; the dial's picture is half as large again.
        columns: pictures in a row of the strip; 0 puts all in one row.
    Raises: ValueError if a setting does not name all dials, or names a value that is not on its dial.
    """
    for setting in strip:
        if setting.keys() != dials.keys():
            raise ValueError(f"the strip has a setting of {sorted(setting)}; expected {sorted(dials)}")
        for name, value in setting.items():
            if not is_on(dials[name], value):
                raise ValueError(f"{name} = {value} is in the strip but not on the dial")
    if not strip:
        raise ValueError("the strip is empty; expected at least one setting")
    plots.show(strip_figure(plot, strip, size, columns))
    if plots.in_notebook():
        _show_dials(plot, dials, strip[0], size)


def is_on(values: Sequence | type[str], value: Any) -> bool:
    """Can a control take this value?"""
    return isinstance(value, str) if isinstance(values, type) else value in values


def strip_figure(
    plot: Callable[..., None], strip: Sequence[dict[str, Any]], size: tuple[float, float], columns: int = 0
) -> plt.Figure:
    """Plot the still pictures side by side, or in rows of `columns`."""
    columns = columns or len(strip)
    rows = math.ceil(len(strip) / columns)
    fig, axes = plt.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)
    for ax in axes.flat[len(strip) :]:
        ax.remove()
    for ax, setting in zip(axes.flat, strip):
        plot(ax, **setting)
    return fig


def dial_html(plot: Callable[..., None], setting: dict[str, Any], size: tuple[float, float]) -> str:
    """Return what the dial shows at one setting: an HTML image whose alt text names the setting."""
    fig, ax = plt.subplots(figsize=(1.5 * size[0], 1.5 * size[1]))
    plot(ax, **setting)
    picture = plots.encoded(fig, QUICK)
    plt.close(fig)
    return plots.img_tag(picture, ", ".join(f"{name} = {value}" for name, value in setting.items()))


def control(name: str, values: Sequence | type[str], start: Any):
    """The widget for one dial: a text box for `str`, a menu for words, a slider for anything else."""
    import ipywidgets

    wide = {"description": name, "layout": ipywidgets.Layout(width="32em", max_width="100%")}
    if isinstance(values, type):
        return ipywidgets.Text(value=start, continuous_update=False, **wide)
    if all(isinstance(value, str) for value in values):
        return ipywidgets.Dropdown(options=list(values), value=start, **wide)
    return ipywidgets.SelectionSlider(options=list(values), value=start, continuous_update=True, **wide)


def _show_dials(plot, dials, start, size) -> None:
    try:
        import ipywidgets
    except ImportError:  # the strip above is enough to read the lesson
        return
    from IPython.display import HTML, display

    controls = {name: control(name, values, start[name]) for name, values in dials.items()}
    picture = ipywidgets.HTML(dial_html(plot, start, size))

    def update(_change) -> None:
        picture.value = dial_html(plot, {name: one.value for name, one in controls.items()}, size)

    for one in controls.values():
        one.observe(update, names="value")
    display(HTML(NO_LOST_DIALS))
    display(ipywidgets.VBox([*controls.values(), picture]))
