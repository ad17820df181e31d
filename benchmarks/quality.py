"""Measure the shipped model, and write what the repository says about it: report, figure, model card, samples, README.

    python benchmarks/quality.py                  # 1,000 captions: about ten minutes of two CPU cores
    python benchmarks/quality.py --captions 16    # a quick try; do not commit its numbers

Writes evaluation.json and README.md in tinyldm/weights/tiny/, docs/evaluation.png and docs/generated.png, and the
numbers under "How good it is" in README.md.
"""

import argparse
import re
import textwrap
from pathlib import Path

import torch

from tinyldm import LatentDiffusion
from tinyldm.evaluation import report
from tinyldm.evaluation.measure import EvaluationSettings, evaluate
from tinyldm.formats.files import write_bytes, write_json
from tinyldm.formats.places import SHIPPED
from tinyldm.training.figures import save_grid
from tinyldm.training.model_card import write_card
from tinyldm.training.train_unet import SAMPLE_CAPTIONS

ROOT = Path(__file__).parents[1]
KINDS = ("background", "relation", "colour", "shape", "size")


def percent(measured: dict) -> str:
    return f"{100 * measured['share']:.1f} %"


def row(found: dict) -> str:
    """The row of the README's table."""
    captions = found["captions"]
    shares = [captions["all"][kind] for kind in KINDS]
    shares += [captions[count]["strict"] for count in ("one object", "two objects")]
    shares.append(found["held-out captions"]["all"]["strict"])
    return "| " + " | ".join(map(percent, shares)) + " |"


def sentences(found: dict) -> str:
    """What the README says below its table."""
    bound, vae = found["CLIP"]["binding"]["plain"], found["reconstruction"]
    return (
        f"The VAE reconstructs at {vae['psnr']:.1f} dB, and the judge reads everything right in "
        f"{percent(vae['reconstructed']['strict'])} of its reconstructions. CLIP prefers a caption to the one with "
        f"colours exchanged in {percent(bound['colour'])}, with positions exchanged in {percent(bound['position'])}, "
        f"with shapes exchanged in {percent(bound['shape'])}. {percent(found['memorisation']['copies'])} of the "
        "pictures are as close to a training image as the closest 1 % of new real ones."
    )


def with_numbers(readme: str, found: dict) -> str:
    """The README with these numbers in its table and below it. Raises ValueError where it has no place for them."""
    readme, rows = re.subn(r"(?m)^\|( \d+\.\d % \|){8}$", row(found), readme)
    paragraph = re.search(r"(?m)^The VAE reconstructs at (.+\n)+", readme)
    if rows != 1 or paragraph is None:
        raise ValueError('expected a README with one row of eight shares, and below it "The VAE reconstructs at …"')
    _, end, rest = " ".join(paragraph[0].split()).partition("new real ones.")
    text = (sentences(found) + rest).replace(" %", "\N{NO-BREAK SPACE}%")  # no line begins with a sign
    text = textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False).replace("\N{NO-BREAK SPACE}", " ")
    if not end:
        raise ValueError('expected the paragraph below the table to say "… new real ones."')
    return readme[: paragraph.start()] + text + "\n" + readme[paragraph.end() :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=1000, help="fresh captions (default: %(default)s)")
    parser.add_argument(
        "--training-images", type=int, default=30_000, help="to search for copies (default: %(default)s)"
    )
    options = parser.parse_args()
    settings = EvaluationSettings(captions=options.captions, training_images=options.training_images)
    found, gallery = evaluate("tiny", settings)
    folder = SHIPPED / "tiny"
    write_json(folder / "evaluation.json", found)
    report.save_figure(found, gallery, ROOT / "docs" / "evaluation.png")
    write_card(folder)
    images = LatentDiffusion.from_pretrained().generate(
        list(SAMPLE_CAPTIONS), generator=torch.Generator().manual_seed(0)
    )
    save_grid(images, SAMPLE_CAPTIONS, ROOT / "docs" / "generated.png")
    readme = ROOT / "README.md"
    write_bytes(readme, with_numbers(readme.read_text(encoding="utf-8"), found).encode())
    print("\n".join(report.in_words(found)))


if __name__ == "__main__":
    main()
