"""A scene as a form with eight fields: what CLIP learns to fill in from a picture or from a caption.

    thing 1 (the left or upper one): colour, shape, size │ relation │ thing 2: colour, shape, size │ ground

Every picture has exactly one form, whatever the wording of its caption: "a below b" and "b above a" fill in
the same one. So a network that can fill it in knows *which* thing has which colour and *where* it is.
"""

from tinyldm.data.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene

# The fields, and what each can say.
FIELDS = {
    "relation": ("none", "left of", "above"),
    "background": tuple(BACKGROUNDS),
    "colour 1": tuple(COLOURS),
    "shape 1": SHAPES,
    "size 1": tuple(SIZES),
    "colour 2": tuple(COLOURS),
    "shape 2": SHAPES,
    "size 2": tuple(SIZES),
}
EMPTY = -100  # a field that is left empty; `F.cross_entropy` ignores this number


def describe(scene: Scene) -> list[int]:
    """The form of a picture: the number of the option in each of FIELDS, EMPTY for a second thing that is not there."""
    scene = scene.canonical()
    form = {"relation": scene.relation or "none", "background": scene.background}
    for place, thing in enumerate(scene.things, start=1):
        form |= {f"{kind} {place}": getattr(thing, kind) for kind in ("colour", "shape", "size")}
    return [options.index(form[field]) if field in form else EMPTY for field, options in FIELDS.items()]


def describe_stated(scene: Scene, stated: frozenset[str]) -> list[int]:
    """The form as far as a caption fills it in.

    Args: stated: as in `Caption.stated`, where things are numbered in the order of the scene, not of the form.
    """
    turned = scene.canonical() is not scene
    fields = {_in_the_form(name, turned) for name in stated}
    if scene.relation is None:
        fields.add("relation")  # a caption of one thing says that there is no other
    elif "relation" not in stated:
        fields &= {"background"}  # "a star and a ring": it does not say which is the left one
    return [option if field in fields else EMPTY for field, option in zip(FIELDS, describe(scene))]


def _in_the_form(name: str, turned: bool) -> str:
    """ "colour 1" of the caption -> "colour 2" of the form, if the caption begins with the right or lower thing."""
    kind, _, place = name.partition(" ")
    return f"{kind} {3 - int(place)}" if turned and place in ("1", "2") else name
