"""Lessons and programs on a GPU, as far as that can be tried without one: see pretend_gpu.py."""

import pytest
from pretend_runs import HERE, LESSONS, NEEDS_IT, run, run_lesson

pytestmark = NEEDS_IT


def test_it_computes_like_the_cpu_and_refuses_what_a_gpu_refuses(tmp_path):
    run(
        "-c",
        """
import pytest, torch, pretend_gpu
pretend_gpu.switch_on()

def net(device):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.GroupNorm(2, 8), torch.nn.SiLU(), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(288, 5)).to(device)

def trained(device):
    model, x = net(device), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(5):
        loss = (model(x) - 1).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    return [parameter.detach().cpu() for parameter in model.parameters()], loss.item()

(there, its_loss), (here, loss) = trained("pretend"), trained("cpu")
torch.testing.assert_close([its_loss, *there], [loss, *here])      # the optimizers' loops differ in the last digit
assert net("pretend")[0].weight.device.type == "pretend"

x, y = torch.arange(6.0, device="pretend").view(2, 3), torch.ones(2, 3)
assert x[torch.tensor([1])].tolist() == [[3, 4, 5]] and (x * torch.tensor(2.0)).sum() == 30     # as CUDA allows
for mixed in (lambda: x + y, lambda: torch.cat([x, y]), lambda: torch.nn.Linear(3, 4)(x), lambda: y[x.long()],
              lambda: torch.nn.functional.scaled_dot_product_attention(x[None], y[None], y[None])):
    with pytest.raises(RuntimeError, match="same device"):
        mixed()
for to_numpy in (lambda: x.numpy(), lambda: __import__("numpy").asarray(x)):
    with pytest.raises(TypeError, match="numpy"):
        to_numpy()
for drawn in (lambda: torch.randn(3, device="pretend", generator=torch.Generator()),
              lambda: x.normal_(generator=torch.Generator()),
              lambda: torch.randn(3, generator=torch.Generator("pretend"))):
    with pytest.raises(RuntimeError, match="generator"):
        drawn()
generator = torch.Generator("pretend").manual_seed(0)
assert generator.device.type == torch.randn(3, device="pretend", generator=generator).device.type == "pretend"
assert isinstance(generator, torch.Generator) and torch.Generator().device.type == "cpu"
""",
        cwd=tmp_path,
    )


@pytest.mark.slow
def test_the_package_runs_there(tmp_path):
    def tinyldm(*arguments):
        return run(HERE / "pretend_gpu.py", "-m", "tinyldm", *arguments, cwd=tmp_path)

    for sampler in ("ddim", "ddpm", "euler", "dpm"):
        tinyldm("generate", "a red circle", "-n", 1, "--steps", 3, "--sampler", sampler, "--out", "x.png")
    tinyldm("generate", "a red circle", "-n", 1, "--steps", 2, "--plain", "--out", "one.png")
    tinyldm("generate", "a star", "-n", 1, "--steps", 2, "--image-context", "one.png", "--out", "x.png")
    tinyldm("img2img", "one.png", "a green star", "-n", 1, "--steps", 4, "--out", "x.png")
    tinyldm("inpaint", "one.png", "a green star", "--box", "8,8,40,40", "-n", 1, "--steps", 4, "--out", "x.png")
    tinyldm("evaluate", "--captions", 8, "--steps", 2, "--training-images", 20)
    few = ("--batch", 4, "--scenes", 40, "--out", "run")
    tinyldm("train", "all", "--steps", 2, *few)
    tinyldm("train", "all", "--steps", 4, *few, "--resume")
    assert "device pretend" in tinyldm("info")


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS[::2], ids=lambda lesson: lesson.stem)
def test_every_second_lesson_runs_there(lesson, tmp_path):
    run_lesson(lesson, tmp_path)
