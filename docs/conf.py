"""Sphinx's settings. `docs/build.py` copies the sources into one folder and runs Sphinx on it."""

import os
import re
import warnings

from sphinx import addnodes

import tinyldm
from docs import docstrings, glossary_links
from docs.address import configured

ADDRESS = configured()
LIVE = os.environ.get("TINYLDM_SITE_LIVE") == "1"  # set by docs/build.py: is the live page a part of this site?

project, author = "tinyldm", "The tinyldm authors"
release = tinyldm.__version__
copyright = "The tinyldm authors. MIT licence. What you read here is checked by tests."
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx.ext.mathjax"]
exclude_patterns = ["extra", "figures"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Notebooks are shown with the outputs that were committed with them.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # nn.Module says nothing of our `forward`
autodoc_typehints = "signature"
viewcode_follow_imported_members = False
add_module_names = False
python_use_unqualified_type_names = True

# From web/node_modules, copied by docs/build.py: no page loads anything from elsewhere.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}

html_theme = "sphinx_book_theme"
html_title = "tinyldm"
html_static_path = ["_static"]
html_extra_path = ["extra"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_baseurl = ADDRESS.site if ADDRESS else ""
templates_path = ["_templates"]
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],
    "toc_title": "On this page",
    "logo": {"text": "tinyldm"},
    "footer_content_items": ["copyright.html"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "repository_url": f"https://github.com/{ADDRESS.owner}/{ADDRESS.name}" if ADDRESS else "",
    "use_repository_button": bool(ADDRESS),
}
html_context = {"default_mode": "auto"}
html_sidebars = {
    "**": ["navbar-logo.html", "front_door.html", "icon-links.html", "search-button-field.html", "site_nav.html"]
}

DESCRIPTION = (
    "Latent diffusion models, built piece by piece: lessons that run on a laptop, exercises that name your mistake, "
    "and the model itself drawing in your browser."
)


def describe(app, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Give each page what search engines and other sites show of it."""
    title = context.get("title", "tinyldm").replace('"', "&quot;")
    tags = [
        f'<meta name="description" content="{DESCRIPTION}">',
        f'<meta property="og:title" content="{strip_tags(title)}">',
        f'<meta property="og:description" content="{DESCRIPTION}">',
        '<meta property="og:type" content="website">',
        '<meta name="twitter:card" content="summary_large_image">',
    ]
    if ADDRESS:  # these must be whole addresses
        tags += [
            f'<meta property="og:image" content="{ADDRESS.site}card.png">',
            f'<meta property="og:url" content="{ADDRESS.site}{pagename}.html">',
        ]
    context["metatags"] = context.get("metatags", "") + "\n".join(tags)
    context["has_live"] = LIVE
    if not hasattr(app.env, "site_nav"):
        app.env.site_nav = navigation(app.env)
    context["site_nav"] = app.env.site_nav


def navigation(env) -> list[tuple[str, list]]:
    """What the sidebar lists: (caption, [(page, title, [(page, title) below it])])."""

    def pages(tree) -> list[str]:
        return [page for _, page in tree["entries"]]

    def below(page: str) -> list[tuple[str, str]]:
        trees = env.get_doctree(page).findall(addnodes.toctree) if page in env.toctree_includes else ()
        return [(child, env.titles[child].astext()) for tree in trees for child in pages(tree)]

    return [
        (tree["caption"], [(page, env.titles[page].astext(), below(page)) for page in pages(tree)])
        for tree in env.get_doctree(env.config.root_doc).findall(addnodes.toctree)
    ]


def strip_tags(text: str) -> str:
    """A title without the tags that code in it has."""
    return re.sub(r"<[^>]+>", "", text)


def setup(app) -> None:
    """Connect the events."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("html-page-context", describe)
    app.add_transform(glossary_links.LinkGlossary)
    app.connect("doctree-resolved", glossary_links.explain)
