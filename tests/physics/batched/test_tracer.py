"""Traced functions hold no needless work, and compiled they compute what torch computes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from native import SIMD
from physics.batched import scalars
from physics.batched.scalars import Scalar, Vec, clamp, maximum, minimum, select
from physics.batched.tracer import Function, Traced, literal
from tests.physics.batched.common import INSTRUCTION_SETS, compiled

EPS = float(np.finfo(np.float32).eps)
SPECIAL = (0.0, 1.0, -1.0, 2.5, -2.5, 1e30, -1e30, math.inf, -math.inf, math.nan)


def traced(size: int = 3) -> tuple[Function, list[Traced]]:
    f = Function("f")
    return f, f.input("x", size)


def operations(compute: Callable[..., Scalar], size: int = 3) -> int:
    """Operations of a traced function of some inputs."""
    f, x = traced(size)
    f.output("out", [compute(*x)])
    return f.operations


def test_constants_zero_and_one_vanish() -> None:
    _, (x, y, _) = traced()
    minus = -x
    for same in (x + 0.0, 0.0 + x, x - 0.0, 1.0 * x, x * 1.0, x / 1.0, x * 1, -minus, select(y < x, x, x)):
        assert same is x
    for zero in (x * 0.0, 0.0 * x, x - x, 0 * x):
        assert zero == 0.0 and isinstance(zero, float)
    assert (-1.0 * x) is -x and (x * -1.0) is -x and (0.0 - x) is -x


def test_arithmetic_of_constants_is_done_while_tracing() -> None:
    assert operations(lambda x, *_: x * scalars.sin(0.5) * scalars.rsqrt(4.0)) == 2
    assert operations(lambda x, *_: x + clamp(3.0, 0.0, 1.0) * scalars.reciprocal(2.0)) == 1
    assert operations(lambda x, y, _: select(scalars.floor(-0.5) < 0.0, x, x * y)) == 0


def test_common_subexpressions_are_computed_once() -> None:
    _, (x, y, z) = traced()
    assert x * y is y * x and x + y is y + x and 2.0 * x is x * 2.0
    assert x - y is not y - x and (x < y) is not (y < x) and (x > y) is not (x < y)
    assert ((x < y) & (y < z)) is ((y < z) & (x < y))
    assert operations(lambda x, y, z: (x * y + z) * (z + y * x)) == 3


def test_a_constant_is_no_reference_to_a_value() -> None:
    # values are numbered: a constant 2 must not be taken for the value number 2
    _, (x, _, z) = traced()
    for two in (2, 2.0, np.float64(2.0)):
        assert x * two is not x * z and x + two is not x + z and (x < two) is not (x < z)
    assert x * 2 is x * 2.0


def test_what_no_output_needs_is_not_written() -> None:
    f, (x, y, z) = traced()
    kept, dropped = x * y, z.sin()
    f.output("out", [kept, kept + 1.0, 0.0])
    assert dropped not in f.trace.used([kept]) and f.operations == 2
    source = f.source()
    assert "vsin" not in source and "x[2]" not in source and source.count("x[0] * x[1]") == 1
    assert "out[2] = splat(0.0f);" in source


def test_an_added_zero_is_not_written() -> None:
    f, (x, *_) = traced()
    f.output("total", [0.0, x], accumulate=True)
    source = f.source()
    assert "total[1] += x[0];" in source and "total[0]" not in source


def test_constants_must_be_numbers() -> None:
    f, (x, *_) = traced()
    f.output("out", [x * math.nan])
    with pytest.raises(ValueError, match="not a number"):
        f.source()
    assert (literal(math.inf), literal(-math.inf), literal(1e-5)) == ("INFINITY", "-INFINITY", "1e-05f")


def test_generated_code_has_no_branches() -> None:
    _, (x, y, _) = traced()
    for branch in (lambda: 1 if x < y else 2, lambda: x and y, lambda: min(x, y), lambda: bool(x)):
        with pytest.raises(TypeError, match="select"):
            branch()


def arithmetic(count: int) -> Callable[..., Vec]:
    """Random expressions over whole numbers: exact in float32, so that every engine must agree in all bits."""

    def compute(*inputs: Scalar) -> Vec:
        random = np.random.default_rng(0)
        values, conditions = list(inputs), [inputs[0] < inputs[1]]

        def pick() -> Scalar:
            return values[random.integers(len(values))]

        for _ in range(count):
            a, b, c = pick(), pick(), float(random.integers(-3, 4))
            conditions += [a < b, a > c, conditions[0] & (b > a), conditions[-1] | (a < c)]
            condition = conditions[random.integers(len(conditions))]
            small = clamp(a, -8.0, 8.0) * clamp(b, -8.0, 8.0)
            kinds = [a + b, a - b + inputs[0], c - a, -a, small, small + c, abs(a), (0.5 * a).floor()]
            kinds += [select(condition, a, b), select(condition, a, c), minimum(a, b), maximum(a, c)]
            # small enough to be exact
            values.append(clamp(kinds[random.integers(len(kinds))], -4096.0, 4096.0))
        return values[len(inputs) :]

    return compute


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_compiled_arithmetic_is_that_of_torch(instruction_set: str, tmp_path: Path) -> None:
    compute = arithmetic(150)
    x = torch.randint(-9, 10, (4, 160), generator=torch.Generator().manual_seed(1)).float()
    found, expected = compiled(compute, 4, instruction_set)(x), torch.stack(compute(*x))
    assert torch.equal(found, expected)
    assert (expected.std(1) > 0).sum() > 120, "most expressions must not be constant"


def functions(x: Scalar, y: Scalar) -> Vec:
    """Everything that headers of targets define by themselves."""
    return [
        x.sin(), x.cos(), x.floor(), x.rsqrt(), x.reciprocal(), abs(x), -x, x + y, x * y,
        select(x < y, 1.0, x), select(x > y, 1.0, x),
        minimum(x, y), maximum(x, y), clamp(x, -1.0, 1.0),
    ]  # fmt: skip


NAMES = ("sin", "cos", "floor", "rsqrt", "recip", "abs", "neg", "sum", "product", "less", "greater", "min",
         "max", "clamp")  # fmt: skip


@pytest.fixture(scope="module", params=INSTRUCTION_SETS)
def native(request: pytest.FixtureRequest) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """`functions` compiled: results by name."""
    run = compiled(functions, 2, request.param)

    def call(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        padded = torch.zeros(2, -(-len(x) // 16) * 16)
        padded[:, : len(x)] = torch.stack((x, y))
        return dict(zip(NAMES, run(padded)[:, : len(x)], strict=True))

    return call


def test_sine_and_cosine(native) -> None:
    x = torch.cat((torch.linspace(-1e3, 1e3, 40001), torch.linspace(-4.0, 4.0, 8001)))
    found = native(x, x)
    for name, exact in (("sin", x.double().sin()), ("cos", x.double().cos())):
        error = (found[name].double() - exact).abs()
        assert error.max() < 1.5 * EPS, name  # one unit in the last place of numbers up to 1
    near = x.abs() < 0.5  # where sine is small its relative error counts
    torch.testing.assert_close(found["sin"][near].double(), x[near].double().sin(), rtol=3e-7, atol=0)


def test_floor(native) -> None:
    whole = torch.arange(-40.0, 40.0)
    x = torch.cat((whole, whole + 0.5, whole - 1e-6, whole + 1e-6, torch.tensor([-1e-30, 1e-30, 0.0])))
    x = torch.cat((x, torch.tensor([-8388607.5, 8388607.5, -16777216.0, 2e9, -2e9])))
    assert torch.equal(native(x, x)["floor"], x.floor())


def test_reciprocal_and_inverse_root(native) -> None:
    x = torch.logspace(-30, 30, 20001)
    found = native(x, x)
    for name, exact in (("rsqrt", x.double().rsqrt()), ("recip", x.double().reciprocal())):
        error = (found[name].double() / exact - 1.0).abs().max()
        assert error < 2.5 * EPS, name
    assert torch.equal(native(-x, x)["recip"], -found["recip"])


def test_nan_and_infinity_keep_their_meaning(native) -> None:
    x, y = torch.cartesian_prod(*2 * (torch.tensor(SPECIAL),)).T
    found, expected = native(x, y), dict(zip(NAMES, functions(x, y), strict=True))
    for name in ("abs", "neg", "sum", "product", "less", "greater", "min", "max", "clamp"):
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0, equal_nan=True, msg=name)
    assert found["clamp"][x.isnan()].isnan().all(), "a clamp must not hide that a number is lost"
    # what has no finite value must not be given one
    for name in ("sin", "cos", "rsqrt", "recip"):
        lost = ~expected[name].isfinite()
        assert lost.any() and not found[name][lost].isfinite().any(), name


def test_names_of_operations_are_those_of_the_headers() -> None:
    header = SIMD.read_text()
    f, (x, y, _) = traced()
    f.output("out", functions(x, y))
    for name in set(re.findall(r"\b(v[a-z]+)\(", f.source())):
        assert re.search(rf"\bV {name}\(", header), name
