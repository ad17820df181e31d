"""The first time a lesson uses a word of the glossary, the word is a link to it, and a tooltip says what it means."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

from docs.links import ROOT

# Where the words of a lesson are not those of the entry. Empty: the word means other things, too, and is no link.
SPELLED = {
    "Channel": [],
    "Classifier-free guidance": ["classifier-free guidance", "guidance"],
    "EMA (moving average of the weights)": ["EMA", "moving average"],
    "Patch": [],
    "Posterior (of the autoencoder)": [],
    "Scale (0.18215)": ["0.18215"],
    "Scene": [],
    "Score": [],
    "Strict": [],
}
NO_LINK_IN = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw,
              nodes.target, nodes.comment, addnodes.pending_xref)  # fmt: skip


def entries(text: str) -> dict[str, str]:
    """The glossary's terms, each with its text in one line."""
    block = text.partition("```{glossary}")[2].partition("```")[0]
    found = re.findall(r"^(\S.*)\n((?:  .*\n?)+)", block, re.MULTILINE)
    return {term: " ".join(meaning.split()) for term, meaning in found}


ENTRIES = entries((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))


def words_of(term: str) -> list[str]:
    """How a lesson may write a term: "Noise schedule" -> noise schedule; "ε (epsilon), noise" -> ε, noise."""
    if term in SPELLED:
        return SPELLED[term]
    words = [word.strip() for word in re.sub(r"\([^)]*\)", "", term).split(",")]
    return [word if word[1:] != word[1:].lower() else word[0].lower() + word[1:] for word in words]


TERM_OF = {word: term for term in ENTRIES for word in words_of(term)}


def pattern(words: list[str]) -> re.Pattern[str]:
    """Any of the words, the longest first; with a capital where a sentence begins, and with a plural's s."""
    ways = []
    for word in sorted(words, key=len, reverse=True):
        first = f"[{word[0].upper()}{word[0]}]" if word[0].islower() else re.escape(word[0])
        ways.append(first + re.escape(word[1:]).replace(r"\ ", r"\s+"))
    return re.compile(rf"(?<![\w-])(?<!Stable )({'|'.join(ways)})(?:s|es)?(?![\w-])")


WORDS = pattern(list(TERM_OF))


def known(found: str) -> str:
    """The word of TERM_OF that was found."""
    found = " ".join(found.split())
    return found if found in TERM_OF else found[0].lower() + found[1:]


class LinkGlossary(SphinxTransform):
    """Links the words of a lesson, each once."""

    default_priority = 700  # the text is complete, and its references are not resolved yet

    def apply(self) -> None:
        """Sphinx calls it for each page."""
        if not re.match(r"notebooks/\d\d_", self.env.docname):
            return
        seen: set[str] = set()
        for text in list(self.document.findall(nodes.Text)):
            if not inside(text, NO_LINK_IN):
                parts = self.linked(str(text), seen)
                if len(parts) > 1:
                    text.parent.replace(text, parts)

    def linked(self, text: str, seen: set[str]) -> list[nodes.Node]:
        """The same text in parts, some of them links. Adds their terms to those that were seen."""
        parts: list[nodes.Node] = []
        last = 0
        for found in WORDS.finditer(text):
            term = TERM_OF[known(found[1])]
            if term in seen:
                continue
            seen.add(term)
            link = addnodes.pending_xref(
                "", refdomain="std", reftype="term", reftarget=term, refexplicit=True, refwarn=True,
                refdoc=self.env.docname)  # fmt: skip
            link += nodes.inline("", found[0], classes=["xref", "std", "std-term"])
            parts += [nodes.Text(text[last : found.start()]), link]
            last = found.end()
        return [part for part in [*parts, nodes.Text(text[last:])] if part.astext()]


def inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    """Is the node in one of these?"""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def explain(app, document: nodes.document, docname: str) -> None:
    """Sphinx's event `doctree-resolved`: give each link the text of its entry as a tooltip."""
    for link in document.findall(nodes.reference):
        word = next(
            (part for part in link.children if "std-term" in getattr(part, "attributes", {}).get("classes", ())), None
        )
        if word is not None:
            link["reftitle"] = ENTRIES[TERM_OF[known(WORDS.fullmatch(word.astext())[1])]]
