"""What a check says where the mistake belongs to no exercise in particular. Literal data: name -> what to tell."""

GENERAL = {
    "not-written": "Not written yet: that is where you come in. Replace the line that raises NotImplementedError, "
    "or the dots.",
    "no-return": "It returns nothing. Either it is not written yet, or a `return` is missing at its end.",
    "too-slow": "It did not come to an end in time. Is there a loop that never stops, or far more work than needed?",
    "signature": "It cannot be called with what the exercise gives it. Keep the parameters of the stub.",
    "crash": "Your code raised an error.",
    "other-error": "This input makes no sense and must be refused with a ValueError; your code raised another error.",
    "one-shape-only": "It works for one input and breaks for another. Either a size is written into the code (take "
    "sizes from the input's .shape), or dimensions fit only where they happen to be equal, or a case "
    "is forgotten.",
    "should-refuse": "This input makes no sense and must be refused with a ValueError; it was accepted.",
    "wrong-kind": "It returns another kind of thing than asked for.",
    "complex": "The result is complex: so is the root of a negative number, as ** 0.5 takes it. What stands under the "
    "root should never be negative.",
    "wrong-length": "The number of results is wrong: there are more or fewer of them than asked for.",
    "wrong-parameters": "The parameters of your module have other names or shapes than asked for.",
    "wrong-shape": "The result has the wrong shape.",
    "wrong-dtype": "The dtype is not that of the input. Make new tensors like the input: dtype=x.dtype, or "
    "torch.zeros_like(x).",
    "other-dtype": "The dtype is another than asked for: convert at the end, with .float() for float32.",
    "not-whole": "Whole numbers are expected: int64, or uint8 for pixels. Divide with // instead of /, or convert at "
    "the end: .long(), or .to(torch.uint8).",
    "other-whole": "The numbers are whole, but of another dtype than asked for. Convert at the end: .long() for int64, "
    ".to(torch.uint8) for pixels.",
    "wrong-device": "A tensor is made on another device than the input's: this breaks on a GPU. Make it with "
    "device=x.device, or torch.zeros_like(x); what a generator draws, move there: .to(x.device).",
    "generator-elsewhere": "The numbers are drawn on the input's device with a generator of the CPU: a GPU refuses "
    "that. Draw them where the generator is, then move them: "
    "torch.randn(…, generator=generator).to(x.device).",
    "gradient-cut": "The values are right, but no gradient comes through, so nothing before it could learn. Look for "
    ".detach(), .item(), .data, torch.tensor(…), torch.no_grad(), torch.normal(…), NumPy, a change in "
    "place, or a derivative inside that was taken without create_graph=True.",
    "gradient-wrong": "The values are right, but a gradient is not: one of the ways through your formula is cut.",
    "inputs-changed": "The result is right here, but an argument was changed in place, and the caller still needs it. "
    "On what you were given avoid +=, *=, x[…] = … and methods that end in _; on a list append, "
    "insert and del, too.",
    "ends-wrong": "The result is right here, but what was to be changed does not end as it should. Is it changed "
    "itself, not a copy of it; each time; and by nothing else than what is asked for?",
    "changed-too": "An argument was changed in place, too (+=, *=, x[…] = …, a method that ends in _): what is "
    "computed from it later is not what it seems. Begin there.",
    "generator-ignored": "The same generator gives different results: the random numbers come from somewhere else. "
    "Pass it on: torch.randn(…, generator=generator).",
    "always-the-same": "Another generator gives the same result: nothing is drawn from it, or a seed is set inside.",
    "noise-not-normal": "The noise has another shape than a normal distribution: torch.randn draws normal, torch.rand "
    "uniform numbers.",
    "noise-mean": "The random numbers do not lie around the right mean.",
    "noise-spread": "The random numbers have the wrong spread. Is it a variance where a standard deviation is needed?",
    "noise-shared": "Several numbers of the result get the same random number. Draw as many as the whole result has: a "
    "noise of its shape.",
    "wrong-value": "Not right yet, and it is not one of the mistakes that this check knows by name.",
}
