"""`tinyldm export-web`: a folder in which a model draws inside a browser."""

import argparse
import functools
import importlib.util
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tinyldm.cli.output import to_stderr
from tinyldm.formats.places import find_model, names_of_drawings
from tinyldm.latent_diffusion import LatentDiffusion

NEEDED = ("onnx", "onnxscript")


def run(options: argparse.Namespace) -> None:
    """Write the page, and serve it or say how to."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} not installed: pip install 'tinyldm[web]'")
    from tinyldm.web import site

    folder = find_model(options.model)
    model = LatentDiffusion.from_pretrained(folder)
    name = options.name or folder.resolve().name
    snapshots = site.snapshots_of(folder) if options.snapshots else {}
    students = site.students_of(folder)
    to_stderr(f"exporting {folder.name}: half a minute on an idle processor, and as much for each further U-Net …")
    total = 0
    names = names_of_drawings(folder)
    for path, size in site.export_site(model, options.out, name, snapshots, students, options.course, names):
        total += size
        print(f"{path:<32}{size / 1e6:8.1f} MB", flush=True)
    print(f"wrote {options.out}: {total / 1e6:.1f} MB of model")
    if options.serve is None:
        print(f"to look at it: python -m http.server --directory {options.out}")
    else:
        serve(options.out, options.serve)


class Handler(SimpleHTTPRequestHandler):
    """Serves files with the types that browsers insist on, whatever this system calls them."""

    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each file."""


def serve(folder: Path, port: int) -> None:
    """Serve a folder to this machine alone, until Ctrl-C."""
    with ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=str(folder))) as server:
        print(f"serving it at http://localhost:{server.server_port}/ until Ctrl-C", flush=True)
        server.serve_forever()
