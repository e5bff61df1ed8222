"""The main job on a tiny model: panels, resume, base, failure and report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny_files import save_folder
from theodolite.audit import run as audit_run
from theodolite.audit.document import rebuild
from theodolite.audit.panels import PANELS, load_panel, select_panels
from theodolite.audit.plan import make_plan
from theodolite.audit.request import AuditRequest
from theodolite.audit.run import AuditOutcome, run_audit
from theodolite.cli.main import main, with_optional_resume
from theodolite.errors import CapabilityError, ConfigError, Interrupted, RunError
from theodolite.mechanism.panel import ProbesPanel
from theodolite.models import open_model
from theodolite.report import render_report
from theodolite.runs.config import load_config
from theodolite.runs.panel import PAIR, Cost, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("models") / "tiny", wide=True)


@pytest.fixture(scope="module")
def outcome(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditOutcome:
    out = tmp_path_factory.mktemp("runs") / "audit"
    return run_audit(AuditRequest(model=str(folder)), progress=SilentProgress(), out=out)


def test_every_panel_is_done_and_the_run_is_complete(outcome: AuditOutcome) -> None:
    assert [p.name for p in outcome.report.panels] == list(PANELS)
    alone = [p for p in outcome.report.panels if PAIR not in load_panel(p.name).needs]
    assert {p.status for p in alone} == {"done"}
    assert outcome.run.finished
    assert outcome.path.stat().st_size < 5_000_000
    names = [m.name for m in outcome.measurements]
    assert len(names) == len(set(names)) and "refusal/harmful" in names
    assert all(m.floor is not None or m.reason for m in outcome.measurements)


def test_the_report_is_rebuilt_from_the_folder_word_for_word(
    outcome: AuditOutcome, tmp_path: Path
) -> None:
    again = render_report(rebuild(Run.open(outcome.run.path)), tmp_path / "again.html")
    assert again.read_bytes() == outcome.path.read_bytes()


def test_harmful_text_is_not_in_the_report_unless_asked_for(
    outcome: AuditOutcome, tmp_path: Path
) -> None:
    from theodolite.data.bundled import bundled

    harmful = [p.request for p in bundled("refusal") if p.label == "harmful" and p.split == "test"]
    page = outcome.path.read_text("utf-8")
    assert not [text for text in harmful if text in page]
    shown = render_report(rebuild(outcome.run), tmp_path / "shown.html", show_text=True)
    assert any(text in shown.read_text("utf-8") for text in harmful)


def test_an_interrupted_audit_resumes_to_the_same_measurements(
    folder: Path, outcome: AuditOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = AuditRequest(model=str(folder))
    out = tmp_path / "stopped"

    def stop(self: ProbesPanel, context: PanelContext) -> PanelResult:
        raise Interrupted("Stopped.", fix=f"Resume with `{context.run.journal.resume}`.")

    with monkeypatch.context() as patched:
        patched.setattr(ProbesPanel, "run", stop)
        with pytest.raises(Interrupted, match="audit --resume"):
            run_audit(request, progress=SilentProgress(), out=out)
    Run.open(out)
    resumed = run_audit(request, progress=SilentProgress(), resume=out)
    assert resumed.measurements == outcome.measurements


def test_resume_refuses_another_seed(folder: Path, outcome: AuditOutcome) -> None:
    with pytest.raises(RunError, match="seed"):
        other = AuditRequest(model=str(folder), seed=1)
        run_audit(other, progress=SilentProgress(), resume=outcome.run.path)


def test_against_itself_as_base_nothing_differs(folder: Path, tmp_path: Path) -> None:
    request = AuditRequest(model=str(folder), base=str(folder), only=("probes",))
    done = run_audit(request, progress=SilentProgress(), out=tmp_path / "run")
    names = [p.name for p in done.report.panels]
    assert names == ["probes", "probes.base", "probes.difference"]
    differences = [m for m in done.measurements if m.name.startswith("difference/")]
    assert differences and all(m.value == 0.0 for m in differences if m.value is not None)
    overview = done.report.overview
    assert "no figure differs" in " ".join(overview)
    assert sum(said.startswith("The base model: ") for said in overview) == 2
    assert len(overview) == len(set(overview))
    names = [m.name for m in done.measurements]
    assert len(names) == len(set(names))
    assert "probes.base/probes/harmful_vs_benign/text_floor" in names
    assert [m.name for m in Run.open(tmp_path / "run").load_measurements()] == [
        name for name in names if not name.startswith("difference/")
    ]


def test_a_broken_panel_leaves_the_others_and_a_trace(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ProbesPanel, context: PanelContext) -> PanelResult:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(ProbesPanel, "run", broken)
    request = AuditRequest(model=str(folder))
    done = run_audit(request, progress=SilentProgress(), out=tmp_path / "run")
    by_name = {p.name: p for p in done.report.panels}
    assert [p.status for p in done.report.panels].count("failed") == 1
    assert not done.run.finished
    assert "ZeroDivisionError" in by_name["probes"].reason
    assert by_name["heads"].status == "done"  # what comes after it runs all the same
    assert list((tmp_path / "run" / "logs").glob("probes.traceback.txt"))
    assert "could not be measured" in " ".join(done.report.overview)


def test_an_api_model_skips_white_box_panels_and_refuses_demanded_ones() -> None:
    model = open_model("api:mockllm/model")
    (step,) = make_plan([ProbesPanel()], {"model": model}, "quick")
    assert step.skip_reason is not None and "hidden_states" in step.skip_reason
    with pytest.raises(CapabilityError, match="hidden_states"):
        make_plan([ProbesPanel()], {"model": model}, "quick", demanded=("probes",))


class PairPanel:
    """A panel that says which models it was given."""

    name, version, title, question = "pair", 1, "Pair", "Which models?"
    needs = frozenset({"hidden_states", PAIR})

    def cost(self, profile: str) -> Cost:
        return Cost(1, 1)

    def run(self, context: PanelContext) -> PanelResult:
        return PanelResult(measurements=(), findings=[context.pair.name])


def test_a_panel_of_pairs_runs_once_and_only_where_the_base_is_known(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(str(folder))
    (step,) = make_plan([PairPanel()], {"model": model}, "quick")
    assert step.skip_reason is not None and "was trained from" in step.skip_reason
    with pytest.raises(CapabilityError, match="Name it with --base"):
        make_plan([PairPanel()], {"model": model}, "quick", demanded=("pair",))
    (step,) = make_plan([PairPanel()], {"model": model, "base": model}, "quick", paired=True)
    assert step.skip_reason is None and step.key == "pair"
    monkeypatch.setitem(PANELS, "pair", f"{__name__}:PairPanel")
    request = AuditRequest(model=str(folder), base=str(folder), only=("pair",))
    done = run_audit(request, progress=SilentProgress(), out=tmp_path / "run")
    assert [p.name for p in done.report.panels] == ["pair"]
    assert done.report.panels[0].result is not None
    assert done.report.panels[0].result.findings == ["tiny -> tiny"]


def test_panel_selection() -> None:
    assert select_panels(skip=["refusal"]) == [name for name in PANELS if name != "refusal"]
    with pytest.raises(ConfigError, match="Did you mean refusal"):
        select_panels(["refusal "])


def test_request_round_trips_through_its_command_line_and_manifest() -> None:
    request = AuditRequest(model="org/name", profile="full", only=("refusal",), show_text=True)
    words = ["theodolite", "audit", "org/name", "--profile", "full", "--only", "refusal"]
    assert request.command_line() == [*words, "--show-text"]
    plain = json.loads(json.dumps(request.__dict__))
    assert load_config(AuditRequest, None, plain) == request


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["audit", "--resume"], ["audit", "--resume", "newest"]),
        (["audit", "--resume", "--json"], ["audit", "--resume", "newest", "--json"]),
        (["audit", "--resume", "runs/a"], ["audit", "--resume", "runs/a"]),
        (["audit"], ["audit"]),
    ],
)
def test_resume_may_stand_alone(typed: list[str], meant: list[str]) -> None:
    assert with_optional_resume(typed) == meant


def test_the_command_line_prints_one_json_document(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["audit", str(folder), "--only", "probes", "--json"])
    assert stopped.value.code == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["measurements"][0]["name"] == "probes/harmful_vs_benign/accuracy"
    assert "probes/probes" in document["tables"]
    assert "Report:" in err


def test_costs_are_stated_for_every_profile() -> None:
    for name in PANELS:
        panel = audit_run.load_panel(name)
        costs = [panel.cost(profile) for profile in ("quick", "standard", "full")]
        assert all(isinstance(cost, Cost) and cost.seconds > 0 for cost in costs)
        assert costs[0].seconds <= costs[1].seconds <= costs[2].seconds
