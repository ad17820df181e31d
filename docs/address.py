"""The one configured address of the repository, and what follows from it.

It is `Repository` in pyproject.toml. While it says OWNER it is not set: then no page shows a button that needs it.
"""

import re
import tomllib
from dataclasses import dataclass
from urllib.parse import quote

from docs.links import ROOT

BRANCH = "main"


@dataclass(frozen=True)
class Address:
    """A public repository on GitHub.

    Args:
        owner, name: as in github.com/owner/name.
    """

    owner: str
    name: str

    @property
    def site(self) -> str:
        """Where GitHub Pages serves the site, with a slash at its end."""
        return f"https://{self.owner.lower()}.github.io/{self.name}/"

    def file(self, path: str) -> str:
        """The page of a file or folder in the repository."""
        return f"https://github.com/{self.owner}/{self.name}/blob/{BRANCH}/{path}"

    def colab(self, path: str) -> str:
        """Opens a notebook in Colab."""
        return f"https://colab.research.google.com/github/{self.owner}/{self.name}/blob/{BRANCH}/{path}"

    def binder(self, path: str) -> str:
        """Opens a notebook in Binder."""
        return f"https://mybinder.org/v2/gh/{self.owner}/{self.name}/{BRANCH}?labpath={quote(path, safe='')}"


def parsed(url: str) -> Address | None:
    """The address in a URL; None while it is not set. Raises ValueError if it is no repository on GitHub."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?", url)
    if found is None:
        raise ValueError(f"Repository in pyproject.toml is {url!r}; expected https://github.com/OWNER/NAME")
    return None if found[1] == "OWNER" else Address(found[1], found[2])


def configured() -> Address | None:
    """The address in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return parsed(project["urls"]["Repository"])
