"""What the README says is so."""

import json
import re
import shlex
from pathlib import Path

import torch

import tinyldm
from tinyldm import UNet, versions
from tinyldm.cli import main as cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SENTENCES = " ".join(README.split())


def test_ci_runs_the_readmes_test_command():
    last_line = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    assert last_line.startswith("python3 -m venv") and f"    {last_line}\n" in README


def test_contributing_names_the_same_command():
    last_line = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    assert f"    {last_line}\n" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_command_can_be_typed_as_it_stands():
    lines = re.findall(r"^ +(?:.*&& |\.venv/bin/)?(?:\.venv/bin/)?(tinyldm .*)$", README, re.MULTILINE)
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    assert {"generate", "img2img", "trace", "evaluate", "train"} <= {command[0] for command in commands}
    for arguments in commands:
        assert cli.parser_for(arguments).parse_args(arguments).run, arguments


def test_linked_files_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_numbers_of_the_table():
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in UNet(version.unet).parameters())
            for name, version in (("SD1", versions.SD1), ("tiny", versions.TINY))
        }
    assert f"| U-Net | {sizes['SD1']:,} parameters | {sizes['tiny']:,} |" in README
    for version, image, latent in ((versions.SD1, 512, 64), (versions.TINY, 64, 8)):
        assert version.image_size == image and version.image_size // version.vae.factor == latent
        assert f"3 × {image} × {image}" in README and f"4 × {latent} × {latent}" in README


def test_the_map_has_every_file_of_the_core_in_reading_order():
    order = re.findall(r"\[`(\w+)\.py`\]", README.partition("Around the core")[0])
    _, _, rest = tinyldm.__doc__.partition("import order:")
    assert order == [name.strip() for name in rest.split(".")[0].split("→")]


def test_the_quality_is_what_was_measured():
    report = json.loads((Path(tinyldm.__file__).parent / "weights" / "tiny" / "evaluation.json").read_text())
    captions, kinds = report["captions"], ("background", "relation", "colour", "shape", "size")
    shares = [captions["all"][kind]["share"] for kind in kinds]
    shares += [captions[count]["strict"]["share"] for count in ("one object", "two objects")]
    shares.append(report["held-out captions"]["all"]["strict"]["share"])
    assert "| " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |" in README
    bound = report["CLIP"]["binding"]["plain"]
    for kind, share in (("colours", bound["colour"]), ("positions", bound["position"]), ("shapes", bound["shape"])):
        assert f"{kind} exchanged in {100 * share['share']:.1f} %" in SENTENCES, kind
    reconstruction = report["reconstruction"]
    assert f"{reconstruction['psnr']:.1f} dB" in SENTENCES
    assert f"{100 * reconstruction['reconstructed']['strict']['share']:.1f} % of its reconstructions" in SENTENCES
