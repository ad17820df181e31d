"""What a check says where the mistake belongs to no exercise in particular. Literal data: name -> message."""

GENERAL = {
    "not-written": "Not written yet: this is your part. Replace the line that raises NotImplementedError, or the dots.",
    "no-return": "It returns nothing. Either it is not written yet, or a `return` is missing at the end.",
    "too-slow": "It did not finish in time. Is there a loop that never ends, or far more work than necessary?",
    "signature": "It cannot be called with the arguments of this exercise. Keep the parameters of the stub.",
    "crash": "Your code raised an error.",
    "other-error": "This input makes no sense and must be refused with a ValueError; your code raised another error.",
    "one-shape-only": (
        "It works for some inputs and fails for this one. Either a size is written into the code (take sizes from the "
        "input's .shape), or dimensions match only where they happen to be equal, or a case is missing: look at what "
        "is special about this input."
    ),
    "should-refuse": "This input makes no sense and must be refused with a ValueError; your code accepted it.",
    "wrong-kind": "It returns another kind of object than asked for.",
    "complex": (
        "The result is complex: ** 0.5 of a negative number is. The expression under the root should never be negative."
    ),
    "wrong-length": "A list or tuple in the result is longer or shorter than asked for.",
    "wrong-parameters": "The parameters of your module have other names or shapes than asked for.",
    "wrong-shape": "The result has the wrong shape.",
    "wrong-dtype": (
        "The dtype is not that of the input. Make new tensors like the input: dtype=x.dtype, or torch.zeros_like(x)."
    ),
    "other-dtype": "The dtype is not the one asked for: convert at the end, with .float() for float32.",
    "not-whole": (
        "Whole numbers are expected: int64, or uint8 for pixels. Divide with // instead of /, or convert at the end: "
        ".long(), or .to(torch.uint8)."
    ),
    "other-whole": (
        "The numbers are whole, but their dtype is not the one asked for. Convert at the end: .long() for int64, "
        ".to(torch.uint8) for pixels."
    ),
    "wrong-device": (
        "A tensor is made on another device than the input's: this fails on a GPU. Make it with device=x.device, or "
        "torch.zeros_like(x); move what a generator draws: .to(x.device)."
    ),
    "generator-elsewhere": (
        "The numbers are drawn on the input's device with a generator of the CPU: a GPU refuses that. Draw them where "
        "the generator is, then move them: torch.randn(…, generator=generator).to(x.device)."
    ),
    "gradient-cut": (
        "The values are right, but no gradient comes through, so nothing before this function could learn. Look for "
        ".detach(), .item(), .data, torch.tensor(…), torch.no_grad(), torch.normal(…), NumPy, a change in place, or a "
        "derivative inside that was taken without create_graph=True."
    ),
    "gradient-wrong": "The values are right, but a gradient is not: one of the paths through your formula is cut.",
    "inputs-changed": (
        "The result is right here, but an argument was changed in place, and the caller still needs it. On arguments "
        "avoid +=, *=, x[…] = … and methods that end in _; on a list also append, insert and del."
    ),
    "ends-wrong": (
        "The result is right here, but the argument that should be changed does not end as it should. Do you change "
        "the object itself, not a copy; by the right amount; each time; and nothing else?"
    ),
    "changed-too": (
        "An argument was also changed in place (+=, *=, x[…] = …, a method that ends in _), so what is computed from "
        "it later is not what it seems. Start there."
    ),
    "generator-ignored": (
        "The same generator gives different results: the random numbers come from somewhere else. Pass the generator "
        "on: torch.randn(…, generator=generator)."
    ),
    "always-the-same": "Another generator gives the same result: nothing is drawn from it, or a seed is set inside.",
    "generator-stands-still": (
        "Two calls in a row with the same generator give the same numbers. Draw from the generator that is given, not "
        "from a copy of it, and do not set its seed: it must move on with each draw."
    ),
    "noise-not-normal": "The noise is not normally distributed: torch.randn draws normal, torch.rand uniform numbers.",
    "noise-mean": "The noise does not have mean 0.",
    "noise-spread": (
        "The noise has the wrong size: the factor in front of it is not the right standard deviation. Is it a variance?"
    ),
    "noise-shared": (
        "Several numbers of the result get the same random number. Draw as many as the whole result has: noise of its "
        "shape."
    ),
    "wrong-mean": "The noise in your result is right; the part without noise is not.",
    "one-slip": "One slip away from right.",
    "wrong-value": "Not right yet, and it is not one of the mistakes that this check knows by name.",
}
