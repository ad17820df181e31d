"""A dial beside a film strip: what teaches by being turned, and its still picture for readers without a kernel.

    def noised(ax, t):                                   # a pure function: it draws on `ax` and does nothing else
        plots.picture(ax, to_unit(schedule.q_sample(...)), f"t = {t}")

    widgets.dial(noised, {"t": range(0, 1000, 10)}, strip=[{"t": t} for t in (0, 250, 500, 999)],
                 alt="The flower at t = 0, 250, 500 and 999: …")

The strip is always shown. The dial is added where ipywidgets and a running kernel are there; both call the same
function. ipywidgets hides what goes wrong inside a callback, so lessons' drawing functions are tested directly.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt

from tinyldm_course.lessons import plots


def dial(
    draw: Callable[..., None],
    dials: dict[str, Sequence],
    *,
    strip: Sequence[dict[str, Any]],
    alt: str,
    size: tuple[float, float] = (2.2, 2.4),
) -> None:
    """Show `draw` at some settings, and a slider for each of `dials` where there is a kernel.

    Args:
        draw: (ax, **setting) -> None, draws one picture; at most half a second.
        dials: name of an argument of `draw` -> the values that it can take, in order.
        strip: the settings of the still pictures; the first is also where the dials start.
        alt: what the strip shows, in a sentence or two.
        size: inches of one picture of the strip; the dial's is half as large again.
    Raises: ValueError where a setting does not name all dials, or a value that is not on its dial.
    """
    for setting in strip:
        if setting.keys() != dials.keys():
            raise ValueError(f"the strip has a setting of {sorted(setting)}; expected {sorted(dials)}")
        for name, value in setting.items():
            if value not in dials[name]:
                raise ValueError(f"{name} = {value} is in the strip but not on the dial")
    if not strip:
        raise ValueError("the strip is empty; expected at least one setting")
    plots.show(strip_figure(draw, strip, size), alt)
    if plots.in_notebook():
        _show_dials(draw, dials, strip[0], size, alt)


def strip_figure(draw: Callable[..., None], strip: Sequence[dict[str, Any]], size: tuple[float, float]) -> plt.Figure:
    """The still pictures side by side."""
    fig, axes = plt.subplots(1, len(strip), figsize=(size[0] * len(strip), size[1]), squeeze=False)
    for ax, setting in zip(axes[0], strip):
        draw(ax, **setting)
    return fig


def dial_html(draw: Callable[..., None], setting: dict[str, Any], size: tuple[float, float]) -> str:
    """What the dial shows at one setting: an HTML image whose alt text names the setting."""
    fig, ax = plt.subplots(figsize=(1.5 * size[0], 1.5 * size[1]))
    draw(ax, **setting)
    picture, kind = plots.encoded(fig)
    plt.close(fig)
    return plots.img_tag(picture, kind, ", ".join(f"{name} = {value}" for name, value in setting.items()))


def _show_dials(draw, dials, start, size, alt) -> None:
    try:
        import ipywidgets
    except ImportError:  # the strip above is enough to read on
        return
    from IPython.display import display

    wide = ipywidgets.Layout(width="32em")  # so that one of a thousand timesteps can be aimed at
    sliders = {
        name: ipywidgets.SelectionSlider(
            options=list(values), value=start[name], description=name, continuous_update=False, layout=wide
        )
        for name, values in dials.items()
    }
    screen = ipywidgets.HTML(dial_html(draw, start, size))

    def turned(_change) -> None:
        screen.value = dial_html(draw, {name: slider.value for name, slider in sliders.items()}, size)

    for slider in sliders.values():
        slider.observe(turned, names="value")
    display(ipywidgets.VBox([*sliders.values(), screen]))
