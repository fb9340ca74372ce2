"""``find`` and ``demo``: searching a ticket, and the whole path on the bundled digits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sltdeploy.cli import options
from sltdeploy.cli.costs import table as priced_table
from sltdeploy.cli.outcome import Outcome, Table, note
from sltdeploy.cli.progress import bar

if TYPE_CHECKING:
    from sltdeploy.demo import Demonstration, Held
    from sltdeploy.search.find import Progress
    from sltdeploy.search.recipe import Recipe
    from sltdeploy.ticket import Ticket


def find(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE.toml", help="A recipe, or a bundled one by name.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the search.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted search stopped.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: training.lr=0.1."),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Search a winning ticket; writes DIR/ticket.safetensors after every round."""
    note("loading torch")
    from sltdeploy.search.find import TICKET
    from sltdeploy.search.recipe import read_recipe

    ticket = search(read_recipe(recipe, set_ or ()), out, resume)
    last = ticket.history[-1]
    path = out / TICKET
    return Outcome(
        {
            "ticket": str(path),
            "id": ticket.id,
            "sparsity": ticket.sparsity,
            "test_accuracy": last["test_accuracy"],
            "history": [dict(entry) for entry in ticket.history],
        },
        (
            str(path),
            f"ticket {ticket.id}",
            f"{ticket.sparsity:.2%} pruned, {last['test_accuracy']:.2%} right on held-out images",
        ),
    )


def search(recipe: "Recipe", out: Path, resume: bool) -> "Ticket":
    """Search with a progress bar; each finished round is noted."""
    from sltdeploy.search.find import find as search_ticket

    with bar() as show:

        def epoch(p: "Progress") -> None:
            line = ""
            if p.entry is not None:
                pruned, right = p.entry["sparsity"], p.entry["test_accuracy"]
                line = f"round {p.round} of {p.rounds}: {pruned:.2%} pruned, {right:.2%} right"
            show(p.done, p.total, f"round {p.round} of {p.rounds}, loss {p.loss:.3f}", line)

        return search_ticket(recipe, out, resume, epoch)


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for all that it writes.")
    ] = Path("runs/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds, for a look: few epochs, a poor ticket.")
    ] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Take the whole path on the bundled digits: ticket, artifacts, verification, report."""
    note("loading torch")
    from sltdeploy import demo as path
    from sltdeploy.search.find import facts_of
    from sltdeploy.search.recipe import read_recipe

    recipe = read_recipe(path.RECIPE, path.QUICK if quick else ())
    ticket = search(recipe, out / path.search_folder(facts_of(recipe)), resume=True)
    with bar() as show:
        found = path.demonstrate(ticket, out, show)
    return Outcome(_data(found), _text(found), 0 if found.ok else 1)


def _data(found: "Demonstration") -> dict[str, Any]:
    counts = found.found.counts
    return {
        "ticket": str(found.folder / "ticket.safetensors"),
        "id": found.ticket.id,
        "accuracy": found.found.accuracy,
        "sparsity": found.ticket.sparsity,
        "synops": float(counts.synops.mean()),
        "synops_dense": counts.synops_dense,
        "energy": [p.estimate.to_json() for p in found.priced],
        "verified": [
            {
                "what": h.title,
                "path": None if h.path is None else str(h.path),
                "engine": h.engine,
                "accuracy": h.accuracy,
                "latency_steps": h.latency,
                "ok": None if h.result is None else h.result.ok,
                "missing": list(h.missing),
                "failed": list(h.failed),
            }
            for h in found.held
        ],
        "report": [str(found.folder / name) for name in ("report.html", "report.json")],
        "missing": list(found.missing),
    }


def _text(found: "Demonstration") -> tuple[str | Table, ...]:
    from sltdeploy.report.units import count, percent

    ticket, counts = found.ticket, found.found.counts
    done, dense = count(float(counts.synops.mean())), count(counts.synops_dense)
    facts = (
        ("accuracy on held-out digits", percent(found.found.accuracy or 0)),
        ("weights pruned", percent(ticket.sparsity)),
        ("SynOps per image", f"{done} of {dense}"),
    )
    verified = tuple(
        (
            h.title,
            percent(h.accuracy),
            f"{h.latency} steps",
            _verdict(h),
            "" if h.path is None else str(h.path),
        )
        for h in found.held
    )
    wrong = [
        f"{h.title}: {line}"
        for h in found.held
        for line in (*h.failed, *(h.result.lines() if h.result else ()))
    ]
    return (
        Table(("ticket", ""), facts),
        Table(("artifact", "accuracy", "latency", "against reference", "path"), verified),
        priced_table(found.priced),
        *wrong,
        *(f"{p.estimate.target}: {p.estimate.refusal}" for p in found.priced if p.estimate.refusal),
        *(line for p in found.priced for line in p.caveats),
        str(found.folder / "ticket.safetensors"),
        str(found.folder / "report.json"),
        str(found.folder / "report.html"),
        *(f"left out: {line}" for line in found.missing),
    )


def _verdict(held: "Held") -> str:
    if held.result is None:
        return "not run" if held.missing else "FAILED"
    return "identical" if held.result.ok else "DIFFERS"
