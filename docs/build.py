"""Build the site: `python -m docs.build --serve`.

    build/site-source    what Sphinx reads (see staging.py)
    build/site           the site; open build/site/index.html, or serve it
    build/site/tinyldm.pdf   with --pdf: lessons, exercises and what to look up as a book (see book.py)
    build/live-tiny, build/live-pictures   the live pages, exported again only when a model or the page has changed

Needs `pip install -e ".[docs,web]"`, and MathJax and reveal.js: `cd web && npm ci --ignore-scripts`.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import tinyldm
from docs import book, quiz, slides, staging
from docs.address import configured
from docs.links import ROOT

BUILD = ROOT / "build"
LIVE = {"tiny": "live", "pictures": "live-pictures"}  # a shipped model -> the folder of its live page in the site


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.build", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=BUILD / "site", help="where to write it (default: build/site)")
    parser.add_argument("--without-live", action="store_true", help="leave the live page out: no model is exported")
    parser.add_argument(
        "--pdf", action="store_true", help="write the whole book, too: tinyldm.pdf, printed by Chromium"
    )
    parser.add_argument("--serve", nargs="?", type=int, const=8000, metavar="PORT", help="serve it (default: 8000)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        build(options.out, not options.without_live)
        if options.pdf:
            print(f"wrote {book.write(options.out, tinyldm.__version__)}", flush=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {options.out} in {time.perf_counter() - start:.0f} s", flush=True)
    if options.serve is not None:
        from tinyldm.cli.export_web import serve

        serve(options.out, options.serve)
    return 0


def build(out: Path, live: bool) -> None:
    """Write the site to a folder, replacing what is there."""
    source = out.with_name(f"{out.name}-source")
    for folder in (source, out, out.with_name(f"{out.name}-doctrees")):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    staging.stage(source, live)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "2", "-b", "html"]
    places = ["-d", str(out.with_name(f"{out.name}-doctrees")), str(source), str(out)]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"TINYLDM_SITE_LIVE": str(int(live)), "PYTHONPATH": paths}
    subprocess.run(command + places, check=True, cwd=ROOT, env=environment)
    if live:
        for model, folder in LIVE.items():
            shutil.copytree(live_page(model), out / folder)
    slides.write(out)
    quiz.write(out / "quiz", quiz.read())
    write_for_machines(out)


def live_page(model: str) -> Path:
    """The exported live page of a shipped model."""
    folder, mark = BUILD / f"live-{model}", BUILD / f"live-{model}.digest"
    digest = digest_of([ROOT / "tinyldm" / "web", ROOT / "tinyldm" / "weights" / model])
    if not (folder / "files.json").is_file() or not mark.is_file() or mark.read_text() != digest:
        command = [sys.executable, "-m", "tinyldm", "export-web", model, "--out", str(folder)]
        subprocess.run([*command, "--course", "../"], check=True, cwd=ROOT)
        mark.write_text(digest)
    return folder


def digest_of(folders: list[Path]) -> str:
    """A number that changes when a file in one of the folders does."""
    digest = hashlib.sha256()
    for file in sorted(file for folder in folders for file in folder.rglob("*") if file.is_file()):
        if "__pycache__" not in file.parts:
            digest.update(file.as_posix().encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def write_for_machines(out: Path) -> None:
    """robots.txt, llms.txt and, where the site's address is known, sitemap.xml."""
    address = configured()
    pages = sorted(
        file.relative_to(out).as_posix()
        for file in out.rglob("*.html")
        if not {"_modules", "_static", *LIVE.values(), "slides"} & set(file.relative_to(out).parts)
        and file.name not in ("search.html", "genindex.html", "py-modindex.html")
    )
    site = address.site if address else ""
    (out / "robots.txt").write_text("User-agent: *\nAllow: /\n" + (f"Sitemap: {site}sitemap.xml\n" if site else ""))
    (out / ".nojekyll").touch()  # GitHub Pages would leave out folders that begin with an underscore
    if site:
        rows = "".join(f"<url><loc>{site}{page}</loc></url>\n" for page in pages)
        (out / "sitemap.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{rows}</urlset>\n'
        )
    listed = "\n".join(f"- [{title_of(out / page)}]({site}{page})" for page in pages)
    (out / "llms.txt").write_text(f"# tinyldm\n\n> {SUMMARY}\n\n## Pages\n\n{listed}\n", encoding="utf-8")


SUMMARY = (
    "Everything inside Stable Diffusion, built, trained and run by the reader on a laptop, offline; the same classes "
    "with a bigger configuration load and run Stable Diffusion checkpoints. Lessons (executed notebooks), exercises "
    "with diagnoses, an API reference, the errata of the encyclopedia article, and the model live in the browser."
)


def title_of(file: Path) -> str:
    """The title of a page, without the name of the site."""
    text = file.read_text(encoding="utf-8")
    title = text.partition("<title>")[2].partition("</title>")[0]
    return " ".join(title.removesuffix("&#8212; tinyldm").removesuffix("— tinyldm").split())


if __name__ == "__main__":
    sys.exit(main())
