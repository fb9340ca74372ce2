"""Arguments and options that several commands share, each with its help text.

The choices repeat `Literal` types of the modules below, because ``--help`` imports none of
them; a test holds the two together.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

ResetRule: TypeAlias = Literal["zero", "subtract"]
CompareRule: TypeAlias = Literal["gt", "ge"]
DecayRule: TypeAlias = Literal["euler", "exponential"]
InputKind: TypeAlias = Literal["spikes", "graded"]
Framework: TypeAlias = Literal[
    "norse", "snntorch", "spikingjelly", "sinabs", "rockpool", "spyx", "lava"
]
Format: TypeAlias = Literal["onnx", "c", "lava", "nir"]
Quantize: TypeAlias = Literal["none", "int8"]
Form: TypeAlias = Literal["step", "sequence"]
Engine: TypeAlias = Literal["fast", "lava"]
Stream: TypeAlias = Literal["ndjson", "raw"]
OnMiss: TypeAlias = Literal["hold", "zero", "raise"]

MODEL = "Model"
GENERAL = "General"

ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .nir file or a ticket.", show_default=False)
]
ArtifactPath = Annotated[
    Path,
    typer.Argument(metavar="ARTIFACT", help="A folder that export wrote.", show_default=False),
]

Dt = Annotated[
    float | None,
    typer.Option(
        "--dt", metavar="S", help="Time step in seconds.", rich_help_panel=MODEL, show_default=False
    ),
]
Reset = Annotated[
    ResetRule | None,
    typer.Option("--reset", help="Reset to a value, or by subtraction.", rich_help_panel=MODEL),
]
Compare = Annotated[
    CompareRule | None,
    typer.Option("--compare", help="Spike where v > threshold, or >=.", rich_help_panel=MODEL),
]
Decay = Annotated[
    DecayRule | None,
    typer.Option("--decay", help="1 - dt/tau, or exp(-dt/tau).", rich_help_panel=MODEL),
]
Kind = Annotated[
    InputKind | None,
    typer.Option(
        "--input-kind", help="What enters: 0 and 1, or real numbers.", rich_help_panel=MODEL
    ),
]
Convention = Annotated[
    Framework | None,
    typer.Option(
        "--convention",
        help="Framework whose NIR file it is; the flags above win.",
        rich_help_panel=MODEL,
    ),
]
EngineName = Annotated[
    Engine | None,
    typer.Option(
        "--engine",
        help="fast: ONNX Runtime, compiled C, Loihi's integers, or the reference; lava: Lava.",
    ),
]

TimeLimit = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", help="Time limit for Lava in seconds."),
]

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object to stdout.", rich_help_panel=GENERAL),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=GENERAL)]
