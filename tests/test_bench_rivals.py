"""Rivals in torch: the same spikes, one thread, and a reason where one cannot run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
import torch
from lava_nets import lif, small

from sltdeploy import benching
from sltdeploy.benching.measuring import sent
from sltdeploy.exporting import export
from sltdeploy.reference import run
from sltdeploy.search.eager_stepping import EagerStepper, one_thread
from sltdeploy.stimulus import example

QUARTER = np.asarray(0.25, np.float32)


def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without a C++ compiler: Dynamo's graphs, run as they are."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.parametrize("compiled", [False, True])
def test_torch_sends_what_the_reference_sends(
    monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    in_python(monkeypatch)
    program = programs.branches()
    frames = example(program, steps=9, batch=1)
    expected = run(program, frames)
    c = EagerStepper("t", program, frames, "torch", compiled=compiled)
    for _ in range(2):
        for name, values in sent(c, 9).items():
            assert values.dtype == (bool if program.population(name).spiking else np.float32)
            np.testing.assert_allclose(
                values.astype(float), expected.records[name].astype(float), atol=1e-5
            )


def test_all_are_timed_on_one_thread_and_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_python(monkeypatch)
    threads: list[int] = []
    step = EagerStepper.step

    def watched(self: EagerStepper, frame: int) -> Any:
        threads.append(torch.get_num_threads())
        return step(self, frame)

    monkeypatch.setattr(EagerStepper, "step", watched)
    export(small(lif(decay=QUARTER)), None, tmp_path / "a", format="onnx")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        plan = benching.Plan(("norse", "torch", "compile", "onnxruntime"), 20, 2, rate=0.5)
        found = benching.bench(tmp_path / "a", plan)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [t.name for t in found.timed] == ["artifact", *plan.against]
    assert {t.agreement.differing for t in found.timed} == {0}
    assert found.timed[0].agreement.spikes > 0
    assert set(threads) == {1}


def test_a_rival_without_the_networks_neurons_is_left_out(tmp_path: Path) -> None:
    export(small(lif(bias=np.ones((), np.float32))), None, tmp_path / "a", format="onnx")
    found = benching.bench(tmp_path / "a", benching.Plan(("norse", "torch"), 3, 1))
    assert list(found.refused) == ["norse"]
    assert "no box cell of Norse's" in found.refused["norse"]
    assert [t.name for t in found.timed] == ["artifact", "torch"]


def test_a_compiler_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(module: torch.nn.Module) -> Callable[..., object]:
        def call(*_: object) -> object:
            raise RuntimeError("g++ is not there\nand more")

        return call

    monkeypatch.setattr(torch, "compile", failing)
    export(small(lif(decay=QUARTER)), None, tmp_path / "a", format="onnx")
    found = benching.bench(tmp_path / "a", benching.Plan(("compile",), 3, 1))
    why = found.refused["compile"]
    assert why.startswith("torch.compile failed (RuntimeError: g++ is not there): ")
    assert "apt install g++" in why


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
