"""A spiking actor in closed loop: cloned, pruned, exported, and driven from each artifact.

A linear expert is cloned into a small spiking network in Norse, most of the weights are pruned,
and the rest is rounded to 8 bits. CartPole and MuJoCo's InvertedPendulum are then driven on 20
seeds that training never saw: by Norse itself, by ONNX Runtime and, where a C compiler is found,
by the C artifact. The actions must be the same ones. What a control step costs goes into a report.

    python examples/closed_loop.py [FOLDER FOR REPORTS]

Needs ``sltdeploy[search,onnx,report]`` and ``pip install "gymnasium[mujoco]"``.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import nir
import norse.torch as norse
import numpy as np
import torch
from torch import nn

import sltdeploy as slt
from sltdeploy.assessment import Fed, assess, price
from sltdeploy.atomic import write_bytes
from sltdeploy.errors import MissingComponentError
from sltdeploy.policy import Coding, SpikingPolicy
from sltdeploy.report import report_data, to_html
from sltdeploy.report.units import si
from sltdeploy.target import load

DT = 1e-3  # s
HIDDEN = 64
NOISE = 0.3  # of the force, while the expert is watched
SPARSITIES = (0.6, 0.8)  # pruned one after the other, trained on in between
UNSEEN = range(1_000, 1_020)
CONTROL_STEPS = 1_000  # at most, of an episode
Array = np.ndarray[Any, Any]
Act = Callable[[Array], Array]


@dataclass(frozen=True)
class Task:
    """An environment, an expert for it (action = gains @ observation), and how both are coded."""

    environment: str
    gains: tuple[float, ...]
    coding: Coding
    rate_hz: float  # control steps a second

    def expert(self, observation: Array) -> Array:
        """What the network is to learn: 0 or 1, or a force."""
        drive = observation @ np.array(self.gains)
        if self.coding.action == "discrete":
            return (drive > 0).astype(np.int64)
        return np.clip(drive, self.coding.low, self.coding.high).astype(np.float32)[..., None]


TASKS = (
    Task("CartPole-v1", (0.3, 0.6, 6.0, 2.0), Coding((1.0, 1.0, 0.1, 1.0), "discrete"), 50.0),
    Task(
        "InvertedPendulum-v5",
        (1.0, 20.0, 1.5, 4.0),
        Coding((0.2, 0.05, 0.3, 0.3), "continuous", low=-3.0, high=3.0),
        25.0,
    ),
)


class Actor(nn.Module):
    """Two layers of LIF neurons and a leaky readout; every decay is 0.5, which rounds nothing."""

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        lif = norse.LIFBoxParameters(
            tau_mem_inv=torch.tensor(500.0), v_th=torch.tensor(0.5), alpha=torch.tensor(10.0)
        )
        li = norse.LIBoxParameters(tau_mem_inv=torch.tensor(500.0))
        self.layers = norse.SequentialState(
            nn.Linear(inputs, HIDDEN),
            norse.LIFBoxCell(lif, dt=DT),
            nn.Linear(HIDDEN, HIDDEN),
            norse.LIFBoxCell(lif, dt=DT),
            nn.Linear(HIDDEN, actions),
            norse.LIBoxCell(li, dt=DT),
        )

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One tick: values of the readout, and the state."""
        return self.layers(x, state)

    def after(self, x: torch.Tensor, ticks: int) -> torch.Tensor:
        """Values after ``ticks`` ticks of the same input (B, n)."""
        values, state = self(x)
        for _ in range(ticks - 1):
            values, state = self(x, state)
        return values


def main(reports: Path | None) -> None:
    """Clone, prune, export, drive and report."""
    torch.set_num_threads(1)  # the networks are small
    for task in TASKS:
        print(task.environment)
        actor, masks = clone(task)
        whole, _ = drive(task, in_norse(task, actor))
        for sparsity in SPARSITIES:
            prune(masks, actor, sparsity)
            fit(task, actor, masks, steps=600)
        round_weights(actor)
        left = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
        print(f"  dense: mean return {whole.mean():.1f}; {1 - left:.0%} of the weights pruned:")
        returns, actions = drive(task, in_norse(task, actor))
        print(f"  norse: mean return {returns.mean():.1f}, worst {returns.min():.0f}")
        graph = slt.to_nir(actor.layers, (len(task.gains),), DT)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("onnx", "c"):
                print(f"  {name}: {held(task, graph, name, Path(folder), returns, actions)}")
        report(task, graph, reports)


def held(
    task: Task, graph: nir.NIRGraph, name: str, folder: Path, returns: Array, actions: Array
) -> str:
    """Drive from the artifact ``name`` and hold it against what Norse did."""
    artifact = slt.export(graph, None, folder / name, format=name)
    try:
        runner = slt.open(artifact.path)
    except MissingComponentError as error:
        return str(error)
    with runner:
        got, did = drive(task, SpikingPolicy(runner, task.coding).select_action)
    if not (np.array_equal(actions, did, equal_nan=True) and np.array_equal(returns, got)):
        raise SystemExit(f"{name}: other actions than Norse's")
    count = np.isfinite(did).sum()
    return f"mean return {got.mean():.1f}, worst {got.min():.0f}, the same actions ({count})"


def drive(task: Task, act: Act) -> tuple[Array, Array]:
    """Drive all unseen seeds at once: returns (seeds,), actions (steps, seeds), NaN at the end."""
    envs = [gymnasium.make(task.environment) for _ in UNSEEN]
    observation = np.array([e.reset(seed=s)[0] for e, s in zip(envs, UNSEEN, strict=True)])
    returns, running = np.zeros(len(envs)), np.ones(len(envs), bool)
    actions = np.full((CONTROL_STEPS, len(envs)), np.nan)
    for t in range(CONTROL_STEPS):
        chosen = act(observation)
        for k in np.flatnonzero(running):
            actions[t, k] = np.ravel(chosen[k])[0]
            observation[k], reward, ended, cut, _ = envs[k].step(chosen[k])
            returns[k] += float(reward)
            running[k] = not (ended or cut)
        if not running.any():
            break
    return returns, actions


def in_norse(task: Task, actor: Actor) -> Act:
    """Norse's own cells as a policy."""

    def act(observation: Array) -> Array:
        with torch.no_grad():
            x = torch.from_numpy(task.coding.encode(observation))
            return task.coding.decode(actor.after(x, task.coding.ticks).numpy())

    return act


def clone(task: Task) -> tuple[Actor, dict[str, torch.Tensor]]:
    """Train a new actor to do as the expert; nothing is masked yet."""
    torch.manual_seed(0)
    actor = Actor(len(task.gains), 2 if task.coding.action == "discrete" else 1)
    masks = {n: torch.ones_like(p) for n, p in actor.named_parameters() if p.ndim == 2}
    fit(task, actor, masks, steps=800)
    return actor, masks


def fit(task: Task, actor: Actor, masks: dict[str, torch.Tensor], steps: int) -> None:
    """Learn what the expert does where the expert, and the actor itself, come; masks hold."""
    seen = np.concatenate([observations(task, act) for act in (task.expert, in_norse(task, actor))])
    x = torch.from_numpy(task.coding.encode(seen))
    wanted = torch.from_numpy(task.expert(seen))
    optimiser = torch.optim.Adam(actor.parameters(), lr=5e-3)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = torch.randint(len(x), (128,))
        values = actor.after(x[batch], task.coding.ticks)
        if task.coding.action == "discrete":
            loss = nn.functional.cross_entropy(4 * values, wanted[batch])
        else:
            loss = nn.functional.mse_loss(values, wanted[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slower.step()
        with torch.no_grad():
            for name, p in actor.named_parameters():
                p.mul_(masks.get(name, torch.ones(())))


def observations(task: Task, act: Act) -> Array:
    """What is seen on 20 seeds where ``act`` is disturbed, (N, n): also what it would avoid."""
    rng = np.random.default_rng(0)
    envs = [gymnasium.make(task.environment) for _ in range(20)]
    observation = np.array([e.reset(seed=k)[0] for k, e in enumerate(envs)], np.float32)
    seen: list[Array] = []
    for _ in range(300):
        seen.append(observation.copy())
        actions = act(observation)
        for k, env in enumerate(envs):
            if task.coding.action == "discrete":
                action = rng.integers(2) if rng.random() < 0.3 else actions[k]
            else:
                noisy = actions[k] + rng.normal(0, NOISE)
                action = np.clip(noisy, task.coding.low, task.coding.high).astype(np.float32)
            observation[k], _, ended, cut, _ = env.step(action)
            if ended or cut:
                observation[k], _ = env.reset()
    return np.concatenate(seen)


def prune(masks: dict[str, torch.Tensor], actor: Actor, sparsity: float) -> None:
    """Keep the largest weights over all layers."""
    with torch.no_grad():
        weights = {n: p for n, p in actor.named_parameters() if n in masks}
        every = torch.cat([p.abs().flatten() for p in weights.values()]).sort().values
        for name, p in weights.items():
            masks[name] = (p.abs() > every[int(sparsity * len(every)) - 1]).float()
            p.mul_(masks[name])


def round_weights(actor: Actor) -> None:
    """To k * 2**-n with abs(k) <= 127, one n a layer; biases to the same grid."""
    with torch.no_grad():
        for layer in actor.modules():
            if isinstance(layer, nn.Linear):
                grid = 2.0 ** np.floor(np.log2(127 / float(layer.weight.abs().max())))
                for p in (layer.weight, layer.bias):
                    p.copy_(torch.round(p * grid) / grid)


def report(task: Task, graph: nir.NIRGraph, reports: Path | None) -> None:
    """Price a control step, all its ticks, on three machines; write the report."""
    x = task.coding.encode(observations(task, task.expert)[::20])
    fed = Fed(np.repeat(x[None], task.coding.ticks, axis=0), "what the expert sees")
    program = slt.lower(graph)
    priced = [
        price(program, load(name), fed, task.rate_hz)
        for name in ("loihi1", "raspberry-pi-4", "cmos-45nm")
    ]
    for p in priced:
        if (total := p.estimate.total) is not None:
            span = f"{si(total.low, 'J')} to {si(total.high, 'J')}"
            print(f"  {p.estimate.target}: {span} a control step, {p.estimate.status}")
    if reports is not None:
        data = report_data(
            title=f"{task.environment}: one inference is one control step",
            program=program,
            counts=assess(program, fed).counts,
            estimates=[p.estimate for p in priced],
            fits=[p.fit for p in priced],
            caveats=[f"Counted on {fed.what}.", *(line for p in priced for line in p.caveats)],
        )
        write_bytes(reports / f"{task.environment}.html", to_html(data))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
