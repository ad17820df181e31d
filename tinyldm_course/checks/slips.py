"""One small change to the right answer: a sign, a root, a different name. If it gives the learner's result, we say so.

    source of the right answer ──one change──► a different program, and the change in words

Most wrong answers are one slip away from right: `a` in place of `a.sqrt()`, + in place of -, `z0` in place of `z_t`.
Exercises list the instructive mistakes; this module generates the rest, which get no text of their own.
"""

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
OTHER: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.FloorDiv: ast.Mod,
    ast.MatMult: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
METHODS = {
    "mean": "sum",
    "sum": "mean",
    "sqrt": "square",
    "square": "sqrt",
    "sin": "cos",
    "cos": "sin",
    "exp": "log",
    "log": "exp",
    "cumprod": "cumsum",
    "randn": "rand",
    "randn_like": "rand_like",
    "amax": "amin",
    "min": "max",
}
MODULES = ("torch", "math", "nn", "F")
MAX_SLIPS = 200  # of one answer: a learner waits while they are tried
MAX_ROUNDS = 10_000  # iterations; a slip can make a list grow while it is iterated
MAX_SHOWN = 60  # characters of an expression around a change
AT_MOST = "_at_most"


@dataclass(frozen=True)
class Slip:
    """The right answer with one change."""

    change: str  # follows the words "Your result is": "what you get with `a` in place of `a.sqrt()`"
    answer: Callable[..., Any]


@dataclass(frozen=True)
class Place:
    """Where a node is, and what else could be there: variables of the answer, layers of its class."""

    parent: ast.AST
    field: str
    names: tuple[list[str], list[str]]


@functools.cache
def slips_of(answer: Callable[..., Any]) -> tuple[Slip, ...]:
    """All slips of an answer; empty for a non-function or code typed at a prompt."""
    try:
        source = textwrap.dedent(inspect.getsource(answer))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):
        return ()
    module = sys.modules.get(answer.__module__)
    if module is None or not isinstance(tree.body[0], (ast.FunctionDef, ast.ClassDef)):
        return ()
    found: dict[str, Slip] = {}
    for change, program in changed_programs(tree, solution_lines(source)):
        space = dict(vars(module)) | {AT_MOST: at_most}
        try:
            exec(program, space)
        except Exception:  # a class that cannot even be defined
            continue
        found.setdefault(change, Slip(change, space[answer.__name__]))
        if len(found) == MAX_SLIPS:
            break
    return tuple(sorted(found.values(), key=lambda slip: len(slip.change)))  # the shortest change first


def solution_lines(source: str) -> range:
    """The numbers of the lines that the learner writes; all of them if nothing is marked."""
    lines = [line.strip() for line in source.splitlines()]
    return range(lines.index(BEGIN) + 1, lines.index(END) + 2) if BEGIN in lines else range(1, len(lines) + 1)


def changed_programs(tree: ast.Module, inside: range) -> Iterator[tuple[str, Any]]:
    """(change in words, program with it) for each place of a tree. The tree is restored."""
    names = names_in(tree, inside)
    places = [
        (parent, field, index, child)
        for parent in ast.walk(tree)
        for field, value in ast.iter_fields(parent)
        for index, child in (enumerate(value) if isinstance(value, list) else [(None, value)])
        if isinstance(child, ast.AST) and getattr(child, "lineno", 0) in inside
    ]
    likelier_first = (alternatives, negative_numbers, without_call, without_line, other_names, changed_formulas)
    for kind in likelier_first:
        for parent, field, index, child in places:
            if is_negative(parent):  # the 1 in -1: the number with its sign is changed instead
                continue
            for new in kind(child, Place(parent, field, names)):
                put(parent, field, index, new)
                text, program = in_words(parent, child, new), compiled(tree)
                put(parent, field, index, child)
                if program is not None and text:
                    yield text, program


def put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    """Put `node` in this place of the tree."""
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def compiled(tree: ast.Module) -> Any:
    """The program of a tree, with a limit on every for loop; None if it does not compile."""
    loops = [(node, node.iter) for node in ast.walk(tree) if isinstance(node, ast.For)]
    for loop, over in loops:
        loop.iter = ast.Call(ast.Name(AT_MOST, ast.Load()), [over], [])
    try:
        return compile(ast.fix_missing_locations(tree), "<slip>", "exec")
    except (SyntaxError, ValueError, TypeError):
        return None
    finally:
        for loop, over in loops:
            loop.iter = over


def at_most(items: Iterable) -> Iterator:
    """The items, with a limit that no right answer reaches."""
    for count, item in enumerate(items):
        if count > MAX_ROUNDS:
            raise RuntimeError("a loop that does not end")
        yield item


MISSING = {  # operator -> what is missing if only its left side, or only its right side, is left
    ast.Add: ("what is added to it", "what it is added to"),
    ast.Sub: ("what is subtracted from it", "what it is subtracted from"),
    ast.Mult: ("the other factor", "the other factor"),
    ast.Div: ("the denominator", "the numerator"),
    ast.Pow: ("the exponent", "the base"),
}


def in_words(parent: ast.AST, old: ast.AST, new: ast.AST) -> str:
    """ "what you get with `a` in place of `a.sqrt()`". `new` has replaced `old` in the tree when this is called.

    If only one side of an expression is left, the other is not revealed: it may be half of the answer. A single name or
    number is shown with the expression around it, unless that is long.
    """
    before, after = ast.unparse(old), ast.unparse(new)
    if isinstance(new, ast.Pass):
        return f"what you get without the line `{before.splitlines()[0]}`"
    if isinstance(old, ast.BinOp) and type(old.op) in MISSING and new in (old.left, old.right):
        return f"what you get with only `{after}`: {MISSING[type(old.op)][new is old.right]} is missing"
    if (isinstance(old, (ast.Name, ast.Constant)) or is_negative(old)) and isinstance(parent, ast.expr):
        around = ast.unparse(parent)
        if len(around) <= MAX_SHOWN and around.count(after) == 1:
            return f"what you get with `{around}`, where `{after}` stands in place of `{before}`"
    return "" if before == after else f"what you get with `{after}` in place of `{before}`"


# ── What may replace a node ────────────────────────────────────────────────────────────────────────


def alternatives(node: ast.AST, place: Place | None = None) -> Iterator[ast.AST]:
    """What may replace a node: a different operator, one operand, a neighbouring number, a different method."""
    if isinstance(node, ast.BinOp):
        yield from (node.left, node.right)
        if type(node.op) in OTHER:
            yield ast.BinOp(node.left, OTHER[type(node.op)](), node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node.operand
    elif isinstance(node, ast.Compare):
        yield from other_comparisons(node)
    elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        yield from (ast.Constant(value) for value in other_constants(node.value))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from other_calls(node)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)


def other_constants(value: bool | int | float) -> list:
    """Neighbours of a number; the negated Boolean."""
    if isinstance(value, bool):
        return [not value]
    return [value + 1, value - 1] if isinstance(value, int) else [value * 2, value + 1, -value]


def is_negative(node: ast.AST) -> bool:
    """Is this a negative number, such as -1? To Python it is an operation on 1."""
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)


def negative_numbers(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    """Neighbours of a negative number: 0 and -2 for -1."""
    if is_negative(node):
        yield from (ast.Constant(value) for value in other_constants(ast.literal_eval(node)))


def other_comparisons(node: ast.Compare) -> Iterator[ast.AST]:
    """Replace one operator; `a < b < c` has two."""
    for index, operator in enumerate(node.ops):
        if type(operator) in OTHER:
            changed = [*node.ops[:index], OTHER[type(operator)](), *node.ops[index + 1 :]]
            yield ast.Compare(node.left, changed, node.comparators)


def other_calls(node: ast.Call) -> Iterator[ast.AST]:
    """Drop or replace a method; swap two arguments."""
    assert isinstance(node.func, ast.Attribute)
    method = node.func.attr
    if not of_module(node.func.value):
        yield node.func.value
    if method in METHODS:
        yield ast.Call(ast.Attribute(node.func.value, METHODS[method], ast.Load()), node.args, node.keywords)
    if len(node.args) == 2:
        yield ast.Call(node.func, node.args[::-1], node.keywords)


def of_module(node: ast.AST) -> bool:
    """Is this `torch`, `math`, …?"""
    return isinstance(node, ast.Name) and node.id in MODULES


def names_in(tree: ast.Module, inside: range) -> tuple[list[str], list[str]]:
    """The arguments and variables of an answer; the layers of a class, as in `self.norm1`."""
    variables, layers = {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg != "self":
            variables[node.arg] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.lineno in inside:
            variables[node.id] = None
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            layers[node.attr] = None
    return list(variables), list(layers)


def other_names(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    """A different variable, or a different layer of the same kind."""
    variables, layers = place.names
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in variables and place.field != "func":
        yield from (ast.Name(name, ast.Load()) for name in variables if name != node.id)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in layers:
        alike = [name for name in layers if name[:2] == node.attr[:2] and name != node.attr]  # norm1, norm2
        yield from (ast.Attribute(node.value, name, ast.Load()) for name in alike)


def changed_formulas(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    """Add a root, square or minus sign; 1 - a for a; a different power; reverse a difference or quotient."""
    in_formula = isinstance(place.parent, (ast.BinOp, ast.UnaryOp)) or place.field == "value"
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in place.names[0] and in_formula:
        yield from (ast.BinOp(node, ast.Pow(), ast.Constant(power)) for power in (0.5, 2))
        yield ast.UnaryOp(ast.USub(), node)
        yield ast.BinOp(ast.Constant(1), ast.Sub(), node)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield from (ast.BinOp(node.left, ast.Pow(), ast.Constant(power)) for power in (-0.5, -1, 2, 1.5))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.FloorDiv)):
        yield ast.BinOp(node.right, node.op, node.left)
        if isinstance(node.op, ast.FloorDiv):
            yield ast.BinOp(node.left, ast.Div(), node.right)


def without_call(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    """The argument itself instead of a function of it: `x` for `F.silu(x)` or `self.norm(x)`."""
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
        yield node.args[0]


def without_line(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    """Delete a line."""
    if place.field == "body" and isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.If)):
        yield ast.Pass(lineno=node.lineno, col_offset=0)
