"""Lessons after 16: what their prose claims is what their committed outputs say."""

import json
import re
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def read(number: str) -> tuple[str, str]:
    """The prose of a lesson, and all that its cells printed."""
    file = next(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    prose = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    return " ".join(prose.split()), "".join("".join(output.get("text", "")) for output in outputs)


def outputs_of(number: str) -> list[dict]:
    """All outputs of a lesson's cells."""
    file = next(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]


def numbers(printed: str, pattern: str) -> list[float]:
    """The numbers that stand where a pattern has its groups."""
    found = re.findall(pattern, printed, re.MULTILINE)
    assert found, f"nothing printed fits {pattern}"
    return [float(number.replace(",", "")) for row in found for number in ([row] if isinstance(row, str) else row)]


def test_one_percent():
    prose, printed = read("17")
    row = r"hearts ([\d.]+)%.* all right ([\d.]+)%"
    shipped, taught, careless, taken_off = (numbers(printed, rf"^{name} +{row}") for name in
                                            ("shipped", "with LoRA", "hearts alone", "taken off"))  # fmt: skip
    all_weights = numbers(read("11")[1], r"^after +hearts ([\d.]+)%[\s\S]*? all right ([\d.]+)%")
    assert f"Hearts: from {shipped[0]:.0f} % to {taught[0]:.0f} %." in prose
    assert f"more than twice as many steps, and reached {all_weights[0]:.0f} %" in prose
    assert f"{shipped[1]:.0f} % before and {taught[1]:.0f} % with the LoRA, {all_weights[1]:.0f} % in" in prose
    assert f"only {careless[1]:.0f} % come true, where it was {shipped[1]:.0f} %" in prose
    assert f"not even learnt yet ({careless[0]:.0f} %)" in prose and taken_off == shipped
    assert "{'circle': 48}" in printed and "sees 48 circles in 48 pictures" in prose


def test_a_drawing():
    prose, printed = read("18")
    curve = next(re.findall(r"steps of training: ([\d., ]+)\.", json.dumps(output))[0]
                 for output in outputs_of("18") if "steps of training: " in json.dumps(output)).split(", ")  # fmt: skip
    assert curve[0] == curve[1], "nothing is to be seen after 80 steps"
    assert f"After 80 steps nothing is to be seen: {curve[1]}, as without it. At step 160 it is {curve[2]}" in prose
    assert f"creeps up to {curve[-1]}" in prose
    alone, steered, inverted = (
        numbers(printed, rf"^{name} +follows ([\d.]+) +true ([\d.]+)%.*of (\d+)")[:3]
        for name in ("alone", "steered", "black on white")
    )
    right = [round(share * count / 100) for _, share, count in (alone, steered, inverted)]
    assert right[0] == right[1] and f"{right[0]} of {alone[2]:.0f} captions come true with the drawing" in prose
    assert f"{inverted[0]}, below the {alone[0]} of the model alone, and {right[2]} of {inverted[2]:.0f}" in prose
    assert f"instead of {right[0]}" in prose and steered[0] > 0.6


def test_flow_matching():
    prose, printed = read("19")
    bent, straight = numbers(printed, r"^S = ([\d.]+)")
    assert f"$S$ falls from {bent:.2f} to {straight:.3f}" in prose
    first, second = (numbers(printed, rf"^{name} +1: ([\d.]+) .*32: ([\d.]+)") for name in ("first", "reflow"))
    assert second[0] < first[1] and "one step of the second network is closer to the data than 32 of the first" in prose
    free, plain, guided, moons = numbers(printed, r"(?:squared length|two moons:?)[ =:]+([\d.]+)$")
    assert f"{plain:.3f} without guidance and {guided:.3f} with it, where the moons have {moons:.3f}" in prose
    assert f"without it ($w = 0$) the paths are bent more, {free:.3f}" in prose
    assert "τ of t = 0 and t = 999: 0.028 and 0.936" in printed
    right, wrong_time, wrong_way = numbers(printed, r"energy distance ([\d.]+)$")
    assert right < wrong_time < wrong_way


def test_transformers():
    prose, printed = read("20")
    (seen, loss), (seen_by_dit, loss_of_dit) = re.findall(
        r"parameters, ([\d,]+) pictures in \d+ s, loss ([\d.]+)", printed
    )
    assert f"The MM-DiT has seen more, {seen_by_dit} against {seen}" in prose
    assert f"the lower loss, {float(loss):.2f} against {float(loss_of_dit):.2f}" in prose
    apart, without = numbers(printed, r"([\d.]+) apart")
    assert without < 1e-4 < 0.1 < apart
    assert numbers(printed, r"^DiT-XL/2.*: ([\d,]+)$") == [673_681_568]


def test_four_steps():
    prose, printed = read("21")
    found = re.findall(r"^(.*), (\d+) calls?: ([\d.]+)% \(", printed, re.MULTILINE)
    share_of = {(name, int(calls)): float(share) for name, calls, share in found}
    right = {key: f"{share:.0f} %" for key, share in share_of.items()}
    guided, solver, student = "DDIM, guided", "DPM-Solver++, guided", "students, one call a step"
    gains = {
        calls: share_of[student, calls] - max(share_of.get((name, calls), 0.0) for name in (guided, "DDIM, w = 1"))
        for calls in (1, 2, 4)
    }
    assert max(gains, key=gains.__getitem__) == 1
    assert f"At one call: {right[student, 1]} against {right['DDIM, w = 1', 1]}." in prose
    assert f"{right[guided, 8]} come true in 4 guided steps of DDIM, {right[guided, 4]} in 2" in prose
    assert f"{right[solver, 8]} in 4 steps, {right[solver, 4]} in 2" in prose
    assert f"At two calls: {right[student, 2]} for the student of two steps, {right['DDIM, w = 1', 2]} for" in prose
    assert f"gets {right['student of 4 in 2 and 1 steps', 2]} in 2 steps" in prose
    card = (NOTEBOOKS.parent / "tinyldm" / "weights" / "tiny" / "unet_4_steps" / "evaluation.json").read_text()
    share = json.loads(card)["captions"]["all"]["strict"]
    shown, low, high = (f"{100 * share[name]:.1f}" for name in ("share", "low", "high"))
    assert f"The shipped student on 1,000: {shown} % ({low} to {high}) in 4 calls" in prose
