"""The run folder: one command's results, written so that a killed run can go on where it was.

manifest.json          what was asked, with what, on what
journal.jsonl, units/  finished units (see journal.py)
measurements.parquet   every figure, one flat row each, with its panel
tables/ figures/ tensors/ samples/   parquet, Plotly JSON, safetensors, JSON; panel/name
token_maps/            JSON
panels/<name>.json     a finished panel; written after everything it points at
complete               the commit marker, written last
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from theodolite.errors import CapabilityError, ConfigError, DataError, Interrupted, RunError
from theodolite.measure.measurement import Measurement, told_apart
from theodolite.measure.records import as_records, from_records
from theodolite.runs import manifest as manifests
from theodolite.runs.atomic import as_run_error, part_path, remove_parts, write_text
from theodolite.runs.folder import (
    DEFAULT_ROOT,
    check_same,
    find_resumed,
    is_finished,
    new_folder,
    own_folder,
)
from theodolite.runs.journal import Journal
from theodolite.runs.panel import Figure, PanelResult, Sample, TokenMap
from theodolite.runs.strict_json import strict_dumps
from theodolite.runs.tables import (
    MEASUREMENT_COLUMNS,
    Row,
    read_table,
    write_table,
)
from theodolite.runs.tensors import load_tensors, save_tensors
from theodolite.text.display import escape


class Run:
    """A run folder, open for writing (`create`, `resume`) or for reading (`open`).

    As a context manager it is closed on exit, and Ctrl-C becomes `Interrupted`, which says how to
    resume.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], *, read_only: bool) -> None:
        self.path = path
        self.manifest = manifest
        self.read_only = read_only
        self._journal: Journal | None = None
        self._new = self._made = False  # the run, and its folder
        if not read_only:
            self._journal = self._open_journal()  # takes the lock

    @classmethod
    def create(
        cls,
        command: str,
        model_name: str = "",
        *,
        root: Path = DEFAULT_ROOT,
        out: Path | None = None,
        config: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        seed: int = 0,
        model: Mapping[str, Any] | None = None,
        methods: Mapping[str, int] | None = None,
    ) -> Self:
        """Make a new run folder and open it for writing.

        Args:
            command: the verb and noun, e.g. `audit` or `eval refusal`.
            model_name: the model's short name; empty where no model takes part.
            root: where the folder `<time>-<command>-<model>` is made (time in UTC).
            out: the exact folder instead; must not exist or be empty.
            config: the resolved configuration: whatever can change a figure, and nothing else.
            inputs: input files (a `Path` is hashed) or their known hashes, by name.
            seed: the seed of all random choices.
            model: `ref`, `fingerprint`, `template_hash` of the model.
            methods: the versions of the methods used, by name.

        Raises:
            RunError: the folder cannot be written, or `out` holds something already.
        """
        manifest = manifests.new_manifest(
            command,
            model_name,
            config=config or {},
            inputs=inputs or {},
            seed=seed,
            model=model,
            methods=methods or {},
        )
        found = out is not None and out.exists()
        path = new_folder(root, command, model_name) if out is None else own_folder(out)
        with as_run_error(path):
            _write_manifest(path, manifest)
        run = cls(path, manifest, read_only=False)
        run._new, run._made = True, not found
        return run

    @classmethod
    def resume(
        cls,
        path: Path | None = None,
        *,
        command: str,
        root: Path = DEFAULT_ROOT,
        config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        model: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a run of the same command for writing, to go on where it stopped.

        Args:
            path: the run folder, or its name in `root`; None takes the newest unfinished run of
                the command in `root`.
            config, seed, model, inputs: what this command was asked now, as in `create` (`model`
                may hold `name` too); each is compared with the run's own where given.

        Raises:
            RunError: there is no such run, it is another command's, it is being written, or it was
                asked something else (the message says what differs).
        """
        path, manifest = find_resumed(path, command, root)
        check_same(path, manifest, config=config, seed=seed, model=model, inputs=inputs)
        run = cls(path, manifest, read_only=False)
        manifest["sessions"].append(manifests.session())
        manifest["ended"] = None
        with run._writing(path):
            remove_parts(path)
            (path / manifests.COMPLETE).unlink(missing_ok=True)
            _write_manifest(path, manifest)
        return run

    @classmethod
    def begin(
        cls,
        command: str,
        model_name: str = "",
        *,
        out: Path | None = None,
        resume: Path | None = None,
        **asked: Any,
    ) -> Self:
        """Make a new run, or go on with the one at `resume`, which must have been asked the same.

        Args:
            out: as in `create`, for a new run.
            asked: `config`, `inputs`, `seed` and `model` as in `create`.
        """
        if resume is None:
            return cls.create(command, model_name, out=out, **asked)
        return cls.resume(resume, command=command, **asked)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run for reading, also while it is being written.

        Raises:
            RunError: the folder is no run.
        """
        return cls(path, manifests.read_manifest(path), read_only=True)

    @property
    def journal(self) -> Journal:
        """The journal of finished units; read when first asked for where the run is read only."""
        if self._journal is None:
            self._journal = self._open_journal()
        return self._journal

    @property
    def finished(self) -> bool:
        """Whether the run was committed."""
        return is_finished(self.path)

    def describe(
        self,
        *,
        model: Mapping[str, Any] | None = None,
        methods: Mapping[str, int] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Add to the manifest what is known only after the start (as in `create`)."""
        self.manifest["model"].update(manifests.without_secrets(model or {}))
        self.manifest["methods"].update(methods or {})
        self.manifest["inputs"].update(manifests.input_hashes(inputs or {}))
        with self._writing(self.path / manifests.MANIFEST):
            _write_manifest(self.path, self.manifest)

    def commit(self) -> None:
        """Declare the run finished: end time into the manifest, then the marker, last of all."""
        self.manifest["ended"] = manifests.now()
        with self._writing(self.path / manifests.COMPLETE):
            _write_manifest(self.path, self.manifest)
            write_text(self.path / manifests.COMPLETE, f"{self.manifest['ended']}\n")
        self.close()

    def close(self) -> None:
        """Let other processes write the run; reading from this object goes on working."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self.read_only = True

    def save_measurements(self, measurements: Sequence[Measurement], panel: str = "") -> None:
        """Write the measurements of a panel, in place of those it had."""
        path = self.path / "measurements.parquet"
        with self._writing(path):
            old = read_table(path) if path.exists() else []
            new = [{"panel": panel, **row} for row in as_records(measurements)]
            rows = [row for row in old if row["panel"] != panel] + new
            write_table(path, rows, MEASUREMENT_COLUMNS)

    def load_measurements(self, panel: str | None = None) -> list[Measurement]:
        """Return those of one panel, or all under names that occur once, in order of writing."""
        pairs = self.load_measurements_by_panel()
        if panel is None:
            return told_apart(pairs)
        return [measurement for owner, measurement in pairs if owner == panel]

    def load_measurements_by_panel(self) -> list[tuple[str, Measurement]]:
        """Return (panel, measurement) of all the run's measurements, in the order of writing."""
        path = self.path / "measurements.parquet"
        rows = read_table(path) if path.exists() else []
        return list(zip((row["panel"] for row in rows), from_records(rows), strict=True))

    def save_table(self, name: str, rows: Iterable[Row]) -> None:
        """Write a table (`name` or `panel/name`); records as in `tables.write_table`."""
        path = part_path(self.path / "tables", name, ".parquet")
        with self._writing(path):
            write_table(path, rows)

    def load_table(self, name: str) -> list[dict[str, Any]]:
        """Return the records of a table."""
        return read_table(part_path(self.path / "tables", name, ".parquet"))

    def table_names(self) -> list[str]:
        """Return the names of the run's tables, sorted."""
        return self._names("tables", ".parquet")

    def save_figure(self, figure: Figure, panel: str = "") -> None:
        """Write a figure as JSON (NaN and infinities become null)."""
        path = part_path(self.path / "figures", _in_panel(panel, figure.name), ".json")
        with self._writing(path):
            write_text(path, strict_dumps(asdict(figure)))

    def load_figure(self, name: str, panel: str = "") -> Figure:
        """Return a figure."""
        return Figure(**self._read("figures", _in_panel(panel, name)))

    def save_samples(self, panel: str, samples: Sequence[Sample]) -> None:
        """Write a panel's samples, in place of those it had."""
        path = part_path(self.path / "samples", panel, ".json")
        with self._writing(path):
            write_text(path, strict_dumps([asdict(sample) for sample in samples]))

    def load_samples(self, panel: str) -> list[Sample]:
        """Return a panel's samples, in order."""
        return [Sample(**sample) for sample in self._read("samples", panel)]

    def save_token_maps(self, panel: str, maps: Sequence[TokenMap]) -> None:
        """Write a panel's token maps, in place of those it had."""
        path = part_path(self.path / "token_maps", panel, ".json")
        with self._writing(path):
            write_text(path, strict_dumps([asdict(one) for one in maps]))

    def load_token_maps(self, panel: str) -> list[TokenMap]:
        """Return a panel's token maps, in order."""
        return [TokenMap(**one) for one in self._read("token_maps", panel)]

    def save_tensors(self, name: str, tensors: Mapping[str, Any]) -> None:
        """Write torch tensors or numpy arrays as safetensors."""
        path = part_path(self.path / "tensors", name, ".safetensors")
        with self._writing(path):
            save_tensors(path, tensors)

    def load_tensors(self, name: str) -> dict[str, Any]:
        """Return the tensors of a name, as torch or numpy, whichever they were saved as."""
        return load_tensors(part_path(self.path / "tensors", name, ".safetensors"))

    def save_panel(self, name: str, result: PanelResult, *, key: str = "") -> None:
        """Write a finished panel; a resumed run need not run it again.

        Args:
            name: the panel's name; its tables become `tables/<panel>/<table>.parquet`.
            result: what it found.
            key: what the result depends on beyond the run's config (method versions, mostly).
        """
        for table, rows in result.tables.items():
            self.save_table(_in_panel(name, table), rows)
        for figure in result.figures:
            self.save_figure(figure, name)
        self.save_samples(name, result.samples)
        if result.token_maps:
            self.save_token_maps(name, result.token_maps)
        self.save_measurements(result.measurements, name)
        path = part_path(self.path / "panels", name, ".json")
        words = {
            "key": key,
            "tables": list(result.tables),
            "figures": [figure.name for figure in result.figures],
            "findings": result.findings,
            "limits": result.limits,
            "how": result.how,
            "labels": result.labels,
            "token_maps": bool(result.token_maps),
        }
        with self._writing(path):
            write_text(path, strict_dumps(words, indent=1))

    def panel_done(self, name: str, *, key: str = "") -> bool:
        """Return whether a panel is finished and was saved under the same key."""
        path = part_path(self.path / "panels", name, ".json")
        return path.exists() and self._read("panels", name)["key"] == key

    def load_panel(self, name: str) -> PanelResult:
        """Return a finished panel as it was saved (tuples for sequences, plain JSON specs)."""
        words = self._read("panels", name)
        return PanelResult(
            measurements=tuple(self.load_measurements(name)),
            tables={table: self.load_table(_in_panel(name, table)) for table in words["tables"]},
            figures=tuple(self.load_figure(figure, name) for figure in words["figures"]),
            samples=tuple(self.load_samples(name)),
            findings=tuple(words["findings"]),
            limits=tuple(words["limits"]),
            how=tuple(words["how"]),
            labels=words["labels"],
            token_maps=tuple(self.load_token_maps(name)) if words.get("token_maps") else (),
        )

    def panel_names(self) -> list[str]:
        """Return the names of the finished panels, sorted."""
        return self._names("panels", ".json")

    def kept(self) -> str:
        """Return the sentence that says what is already on disk."""
        panels = ", ".join(self.panel_names())
        return f"{self.journal.kept()}" + (f" Finished panels: {panels}." if panels else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(  # a run refused before its first result leaves nothing behind
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = None
        again = f"Resume with `{self.journal.resume}`."
        if kind is KeyboardInterrupt and not self.read_only:
            stopped = Interrupted(f"Stopped; {self.kept()}", fix=again)
        elif isinstance(error, Interrupted) and error.fix != again and not self.read_only:
            # A run inside this one was stopped: it goes on when this one does.
            stopped = Interrupted(error.message, fix=again)
        empty = self._new and not len(self.journal) and not self.panel_names()
        self.close()
        if stopped is not None:
            raise stopped from error
        if empty and isinstance(error, ConfigError | DataError | CapabilityError):
            self._remove()

    def _remove(self) -> None:
        """Leave nothing of a run that was refused before its first result."""
        for part in self.path.iterdir():
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink()
        if self._made:
            self.path.rmdir()

    def _open_journal(self) -> Journal:
        again = f"theodolite {self.manifest['command']} --resume {shlex.quote(str(self.path))}"
        return Journal(self.path / "journal.jsonl", read_only=self.read_only, resume=again)

    def _writing(self, path: Path) -> Any:
        if self.read_only:
            raise RunError(
                f"{escape(str(self.path))} is open for reading only.",
                fix="Resume the run to write to it.",
            )
        return as_run_error(path, kept=self.kept())

    def _read(self, folder: str, name: str) -> Any:
        path = part_path(self.path / folder, name, ".json")
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(
                f"{escape(str(path))} is missing or is not valid JSON.",
                fix="Copy the run folder again with all its files, or start a new run.",
            ) from error

    def _names(self, folder: str, suffix: str) -> list[str]:
        root = self.path / folder
        found = (path.relative_to(root).as_posix() for path in root.rglob(f"[!.]*{suffix}"))
        return sorted(name.removesuffix(suffix) for name in found)


def _in_panel(panel: str, name: str) -> str:
    return f"{panel}/{name}" if panel else name


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    write_text(path / manifests.MANIFEST, strict_dumps(manifest, indent=1) + "\n")
