"""A dial next to a strip of still pictures: interactive with a kernel, readable without one.

    def noised(ax, t):                                   # a pure function: it plots on `ax` and does nothing else
        plots.plot_image(ax, to_unit(schedule.q_sample(...)), f"t = {t}")

    widgets.dial(noised, {"t": range(0, 1000, 10)}, strip=[{"t": t} for t in (0, 250, 500, 999)],
                 alt="The flower at t = 0, 250, 500 and 999: …")

The strip is always shown. The dial is added if ipywidgets and a running kernel are available; both call the same
function. ipywidgets hides exceptions inside a callback, so the lessons' plotting functions are tested directly.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt

from tinyldm_course.lessons import plots


def dial(
    plot: Callable[..., None],
    dials: dict[str, Sequence],
    *,
    strip: Sequence[dict[str, Any]],
    alt: str,
    size: tuple[float, float] = (2.2, 2.4),
) -> None:
    """Show `plot` at some settings, and a slider for each of `dials` if there is a kernel.

    Args:
        plot: (ax, **setting) -> None, plots one picture in at most half a second.
        dials: name of an argument of `plot` -> the values that it can take, in order.
        strip: the settings of the still pictures; the dials start at the first.
        alt: what the strip shows, in a sentence or two.
        size: of one picture of the strip, in inches; the dial's picture is half as large again.
    Raises: ValueError if a setting does not name all dials, or names a value that is not on its dial.
    """
    for setting in strip:
        if setting.keys() != dials.keys():
            raise ValueError(f"the strip has a setting of {sorted(setting)}; expected {sorted(dials)}")
        for name, value in setting.items():
            if value not in dials[name]:
                raise ValueError(f"{name} = {value} is in the strip but not on the dial")
    if not strip:
        raise ValueError("the strip is empty; expected at least one setting")
    plots.show(strip_figure(plot, strip, size), alt)
    if plots.in_notebook():
        _show_dials(plot, dials, strip[0], size, alt)


def strip_figure(plot: Callable[..., None], strip: Sequence[dict[str, Any]], size: tuple[float, float]) -> plt.Figure:
    """Plot the still pictures side by side."""
    fig, axes = plt.subplots(1, len(strip), figsize=(size[0] * len(strip), size[1]), squeeze=False)
    for ax, setting in zip(axes[0], strip):
        plot(ax, **setting)
    return fig


def dial_html(plot: Callable[..., None], setting: dict[str, Any], size: tuple[float, float]) -> str:
    """Return what the dial shows at one setting: an HTML image whose alt text names the setting."""
    fig, ax = plt.subplots(figsize=(1.5 * size[0], 1.5 * size[1]))
    plot(ax, **setting)
    picture, kind = plots.encoded(fig)
    plt.close(fig)
    return plots.img_tag(picture, kind, ", ".join(f"{name} = {value}" for name, value in setting.items()))


def _show_dials(plot, dials, start, size, alt) -> None:
    try:
        import ipywidgets
    except ImportError:  # the strip above is enough to read the lesson
        return
    from IPython.display import display

    wide = ipywidgets.Layout(width="32em")  # wide enough to hit one of a thousand timesteps
    sliders = {
        name: ipywidgets.SelectionSlider(
            options=list(values), value=start[name], description=name, continuous_update=False, layout=wide
        )
        for name, values in dials.items()
    }
    picture = ipywidgets.HTML(dial_html(plot, start, size))

    def update(_change) -> None:
        picture.value = dial_html(plot, {name: slider.value for name, slider in sliders.items()}, size)

    for slider in sliders.values():
        slider.observe(update, names="value")
    display(ipywidgets.VBox([*sliders.values(), picture]))
