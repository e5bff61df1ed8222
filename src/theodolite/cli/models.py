"""theodolite models list|show|pull: what can be opened, and what was understood of it."""

from __future__ import annotations

from typing import Annotated

import typer

from theodolite.cli.options import Adapter, AsJson, Dtype

app = typer.Typer(help="List, install and inspect models.", no_args_is_help=True)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the bundled models and whether they are installed."""
    from theodolite.cli.output import print_json, print_rows
    from theodolite.models.bundled import BUNDLED, state

    rows = [
        {"name": name, "model": model.title, "state": state(name), "licence": model.licence}
        for name, model in BUNDLED.items()
    ]
    if as_json:
        print_json(None, [], {"models": rows})
        return
    print_rows("Bundled models", rows)
    typer.echo("Also: org/name (the hub), a folder, a .gguf file, api:PROVIDER/MODEL.", err=True)


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="A bundled model, e.g. gemma-3-270m.")],
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You have read and accept the model's terms.")
    ] = False,
) -> None:
    """Install a bundled model; terms, where there are any, are shown first."""
    from theodolite.models.bundled import pull as install

    typer.echo(f"{name} is ready: {install(name, accept_terms=accept_terms)}", err=True)


@app.command("show")
def show(
    ref: Annotated[str, typer.Argument(help="A model reference.")] = "smollm2",
    verify: Annotated[bool, typer.Option("--verify", help="Hash every cached file again.")] = False,
    adapter: Adapter = None,
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Open a model, prove its anatomy, and show what was found."""
    from theodolite.cli.output import print_json, print_rows
    from theodolite.models import open_model

    model = open_model(ref, verify=verify, adapter=adapter, dtype=dtype)
    facts = {
        "ref": model.ref,
        "name": model.name,
        "fingerprint": model.fingerprint,
        "capabilities": ", ".join(sorted(model.capabilities)),
    }
    anatomy = model.anatomy
    if anatomy is not None:
        facts |= {
            "family": anatomy.family,
            "layers": anatomy.n_layers,
            "heads": f"{anatomy.n_heads} ({anatomy.n_kv_heads} key-value)",
            "head_dim": anatomy.head_dim,
            "d_model": anatomy.d_model,
            "vocabulary": anatomy.vocab_size,
            "context": model.max_context,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
        }
    if as_json:
        print_json(None, [], {"model": [facts]})
    else:
        print_rows(model.name, [{"fact": key, "value": value} for key, value in facts.items()])
