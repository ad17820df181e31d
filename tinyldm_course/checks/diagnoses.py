"""The messages for mistakes that do not belong to one exercise. Literal data: name -> message."""

GENERAL = {
    "not-written": "Not written yet: this is your part. Replace the line that raises NotImplementedError, or the dots.",
    "no-return": "It returns nothing. Either it is not written yet, or a `return` is missing at the end.",
    "too-slow": "It did not finish in time. Is there a loop that never ends, or far more work than necessary?",
    "signature": "It cannot be called with the arguments of this exercise. Keep the parameters of the stub.",
    "crash": "Your code raised an error.",
    "other-error": (
        "This input is invalid and must be rejected with a ValueError; your code raised a different error."
    ),
    "one-shape-only": (
        "It works for some inputs and fails for this one. Either a size is written into the code (take sizes from the "
        "input's .shape), or dimensions match only where they happen to be equal, or a case is missing: check what "
        "is special about this input."
    ),
    "should-refuse": "This input is invalid and must be rejected with a ValueError; your code accepted it.",
    "wrong-kind": "It returns a different kind of object from the one asked for.",
    "complex": (
        "The result is complex: a negative number ** 0.5 gives a complex number. The expression under the root should "
        "never be negative."
    ),
    "wrong-length": "A list or tuple in the result is longer or shorter than asked for.",
    "wrong-parameters": "The parameters of your module have names or shapes that differ from those asked for.",
    "wrong-shape": "The result has the wrong shape.",
    "wrong-dtype": (
        "The dtype is not that of the input. Make new tensors like the input: dtype=x.dtype, or torch.zeros_like(x)."
    ),
    "other-dtype": "The dtype is not the one asked for: convert at the end, with .float() for float32.",
    "not-whole": (
        "Integers are expected: int64, or uint8 for pixels. Divide with // instead of /, or convert at the end: "
        ".long(), or .to(torch.uint8)."
    ),
    "other-whole": (
        "The numbers are integers, but their dtype is not the one asked for. Convert at the end: .long() for int64, "
        ".to(torch.uint8) for pixels."
    ),
    "wrong-device": (
        "A tensor is not made on the input's device: this fails on a GPU. Make it with device=x.device, or "
        "torch.zeros_like(x); move what a generator draws: .to(x.device)."
    ),
    "generator-elsewhere": (
        "The numbers are drawn on the input's device with a CPU generator, which a GPU refuses. Draw them where "
        "the generator is, then move them: torch.randn(…, generator=generator).to(x.device)."
    ),
    "gradient-cut": (
        "The values are right, but no gradient flows through, so nothing before this function could learn. Look for "
        ".detach(), .item(), .data, torch.tensor(…), torch.no_grad(), torch.normal(…), NumPy, an in-place change, or a "
        "derivative inside that was taken without create_graph=True."
    ),
    "gradient-wrong": "The values are right, but a gradient is not: one of the paths through your formula is cut.",
    "inputs-changed": (
        "The result itself is right, but an argument was changed in place, and the caller still needs it. Avoid +=, "
        "*=, x[…] = … and methods that end in _ on an argument; on a list, also append, insert and del."
    ),
    "ends-wrong": (
        "The result itself is right, but the argument that should be changed does not have the right value afterwards. "
        "Do you change the object itself rather than a copy, by the right amount, every time, and nothing else?"
    ),
    "changed-too": (
        "An argument was also changed in place (+=, *=, x[…] = …, a method that ends in _), so what is computed from "
        "it later uses the changed value. Start there."
    ),
    "generator-ignored": (
        "The same generator gives different results: the random numbers come from somewhere else. Pass the generator "
        "on: torch.randn(…, generator=generator)."
    ),
    "always-the-same": (
        "A different generator gives the same result: nothing is drawn from it, or a seed is set inside."
    ),
    "generator-stands-still": (
        "Two calls in a row with the same generator give the same numbers. Draw from the generator that is given, not "
        "from a copy of it, and do not set its seed: it must advance with each draw."
    ),
    "noise-not-normal": "The noise is not normally distributed: torch.randn draws normal, torch.rand uniform numbers.",
    "noise-mean": "The noise does not have mean 0.",
    "noise-spread": (
        "The noise has the wrong size: the factor in front of it is not the right standard deviation. Is it a variance?"
    ),
    "noise-shared": (
        "Several numbers of the result get the same random number. Draw noise with the shape of the result."
    ),
    "wrong-mean": "The noise in your result is right; the part without noise is not.",
    "one-slip": "You are one small change away from the right answer.",
    "wrong-value": "Not right yet, and it is not one of the mistakes that this check knows by name.",
}

# After which of them a hint helps: one about the formula, or one about the shape. The others say what to do.
ABOUT_FORMULA = ("wrong-value", "wrong-mean", "wrong-length")
ABOUT_SHAPE = ("wrong-shape", "one-shape-only")
