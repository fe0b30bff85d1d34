# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from areal.cli.main import main
from areal.cli.report import build_report
from areal.cli.report.load import load_run
from areal.cli.report.render import choose_rollouts
from areal.utils import stat_keys as keys
from areal.utils.errors import ConfigError
from tests.cli.report.synthetic_run import write_run

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>\u2028'


class Page(HTMLParser):
    """The parsed report: visible text, the embedded data, the elements and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.data = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = "data" if dict(attrs).get("id") == "data" else tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif not self._inside:
            self.text += data

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "exp" / "trial0", num_steps=12)


def page_of(run_dir: Path) -> Page:
    return Page(build_report(run_dir).read_text(encoding="utf-8"))


def rewrite_rows(run_dir: Path, change: dict, steps: range) -> None:
    path = run_dir / keys.STATS_FILE
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, **(change if i in steps else {})}) + "\n" for i, row in enumerate(rows)))


def test_report_full_run_holds_every_part(run_dir: Path) -> None:
    page = page_of(run_dir)
    data = json.loads(page.data)
    panels = {panel["title"]: panel for group in data["groups"] for panel in group["panels"]}
    wanted = ("Reward", "Evaluation", "Entropy", "Staleness", "Length", "Mismatch KL", "Gradient norm")
    assert not [title for title in wanted if title not in panels]
    assert [curve["name"] for curve in panels["Evaluation"]["curves"]] == ["greedy", "sampled"]
    assert len(panels["Reward"]["curves"][0]["points"]) == 12
    assert data["timeline"]["lanes"][0]["name"] == "trainer r0" and len(data["timeline"]["samples"]) > 12 * 16
    assert [step["step"] for step in data["rollouts"]] == [0, 10, 11]
    assert "gsm8k-grpo" in page.words and "finished" in page.words and "seed7" in page.words


def test_report_is_self_contained_and_may_not_connect(run_dir: Path) -> None:
    page = page_of(run_dir)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert not [(tag, a) for tag, a in page.tags if tag in ("link", "img", "iframe") or "src" in a or "href" in a]


def test_report_values_of_the_head_match_the_files(run_dir: Path) -> None:
    run = load_run(run_dir)
    page = page_of(run_dir)
    first, last = run.rows[0][keys.REWARD], run.rows[-1][keys.REWARD]
    assert f"{first:.2f} → {last:.2f}" in page.words
    assert "policy version 12" in page.words


def test_report_shares_are_those_of_the_steps(run_dir: Path) -> None:
    # Waits 1 s of 4 s; rollouts go on for 2.5 s, 1.5 s of them while the trainer works for 3 s.
    times = {keys.STEP_S: 4.0, keys.ROLLOUT_S: 1.0, keys.GENERATION_S: 2.5, keys.EVAL_S: 0.0}
    rewrite_rows(run_dir, times, range(12))
    words = page_of(run_dir).words
    assert re.search(r"overlap\s*50%", words) and re.search(r"trainer waits\s*25%", words)


def test_report_evaluation_before_training_is_the_first_point(run_dir: Path) -> None:
    summary = json.loads((run_dir / keys.SUMMARY_FILE).read_text())
    summary["accuracy_before"] = {"greedy": 0.25, "sampled": 0.125, "num_problems": 400}
    (run_dir / keys.SUMMARY_FILE).write_text(json.dumps(summary))
    page = page_of(run_dir)
    panels = {p["title"]: p for g in json.loads(page.data)["groups"] for p in g["panels"]}
    greedy, sampled = panels["Evaluation"]["curves"]
    assert greedy["points"][0] == [-1.0, 0.25, pytest.approx(1.96 * (0.25 * 0.75 / 400) ** 0.5, rel=1e-5)]
    assert sampled["points"][0][:2] == [-1.0, 0.125] and len(greedy["points"]) == 1 + 2
    assert "0.25 → " in page.words


def test_report_supervised_run_shows_its_losses_and_nothing_of_rollouts(tmp_path: Path) -> None:
    times = {keys.STEP_S: 1.0, keys.invariant_ok("denominators"): 1.0}
    rows = [{keys.GLOBAL_STEP: i, keys.SFT_LOSS: 3.0 - i, keys.TOKENS_PER_S: 50.0, **times} for i in range(3)]
    rows[-1][keys.SFT_EVAL_LOSS] = 1.25
    (tmp_path / keys.STATS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = page_of(tmp_path)
    assert "3.00 → 1.00" in page.words and "1.25 → 1.25" in page.words
    assert "Denominators" in page.words and "Rollouts" not in page.words and "staleness" not in page.words
    panels = {p["title"]: p for g in json.loads(page.data)["groups"] for p in g["panels"]}
    assert [curve["name"] for curve in panels["Loss"]["curves"]] == ["sft", "validation"]


def test_report_evil_texts_stay_text(run_dir: Path) -> None:
    path = run_dir / keys.ROLLOUT_DIR / "step_000011.jsonl"
    record = json.loads(path.read_text().splitlines()[0])
    record["tokens"]["piece"][0] = record["prompt"] = EVIL
    path.write_text(json.dumps(record) + "\n")
    (run_dir / keys.CONFIG_FILE).write_text(f"experiment_name: '{EVIL}'\nnote: '{EVIL}'\n")
    rewrite_rows(run_dir, {f"user/{EVIL}": 1.0}, range(12))
    summary = {"status": EVIL, "cause": EVIL, "version_info": {EVIL: EVIL}}
    (run_dir / keys.SUMMARY_FILE).write_text(json.dumps(summary))
    baseline = {"data", None}
    page = page_of(run_dir)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert {a.get("id") for tag, a in page.tags if tag == "script"} == baseline
    assert sum(tag == "script" for tag, _ in page.tags) == 5  # the data and our four files
    assert json.loads(page.data)["rollouts"][-1]["records"][0]["tokens"]["piece"][0] == EVIL
    assert EVIL.rstrip("\u2028") in page.text


def test_report_scripts_build_no_html_from_strings() -> None:
    folder = Path(__file__).parents[3] / "areal" / "cli" / "report" / "templates"
    for path in folder.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", path.read_text()
        )


def test_report_killed_run_tells_what_is_missing_and_counts_torn_lines(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "exp" / "t", num_steps=3, finished=False)
    rewrite_rows(run_dir, {keys.EVAL_GREEDY: "x", keys.EVAL_SAMPLED: "x"}, range(3))  # no eval
    for path in (run_dir / keys.STATS_FILE, *sorted((run_dir / keys.TRACE_DIR).rglob("*.jsonl"))):
        with path.open("a") as file:
            file.write('{"global_step": 3, "timepe')
    page = page_of(run_dir)
    assert "killed after step 2" in page.words and "no summary" in page.words
    assert "stats.jsonl: skipped 1 torn or damaged line" in page.words
    assert "perf_tracer/trainer/traces-r0.jsonl: skipped 1" in page.words
    titles = [panel["title"] for group in json.loads(page.data)["groups"] for panel in group["panels"]]
    assert "Reward" in titles and "Evaluation" not in titles


@pytest.mark.parametrize(
    "kept", [keys.CONFIG_FILE, keys.STATS_FILE, keys.SUMMARY_FILE, keys.TRACE_DIR, keys.ROLLOUT_DIR]
)
def test_report_from_any_single_part_renders(run_dir: Path, tmp_path: Path, kept: str) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (run_dir / kept).rename(alone / kept)
    page = page_of(alone)
    assert "Invariants" in page.words and "About this report" in page.words


def test_report_broken_invariant_names_the_first_step_and_the_worst_measure(run_dir: Path) -> None:
    rewrite_rows(run_dir, {keys.invariant_ok("logprobs"): 0.0, keys.MISMATCH_KL: 0.25}, range(5, 8))
    page = page_of(run_dir)
    assert "broken in 3 of 12 steps, first in step 5" in page.words
    assert "worst mismatch KL: 0.25" in page.words
    verdicts = [a["class"].split()[-1] for tag, a in page.tags if "invariant " in a.get("class", "")]
    assert verdicts == ["pass", "none", "fail", "pass", "pass"]


def test_report_non_finite_statistics_render(run_dir: Path) -> None:
    rewrite_rows(run_dir, {keys.GRAD_NORM: "nan", keys.LOSS: "inf", keys.MISMATCH_KL: "nan"}, range(6, 12))
    panels = {p["title"]: p for g in json.loads(page_of(run_dir).data)["groups"] for p in g["panels"]}
    assert panels["Gradient norm"]["curves"][0]["points"][-1] == [11.0, "nan"]


def test_report_failed_run_shows_its_cause(run_dir: Path) -> None:
    (run_dir / keys.SUMMARY_FILE).write_text(json.dumps({"status": "failed", "cause": "server 0 died: exit code 137"}))
    assert "server 0 died: exit code 137" in page_of(run_dir).words


def test_report_damaged_files_are_noted(run_dir: Path) -> None:
    (run_dir / keys.SUMMARY_FILE).write_text("{")
    (run_dir / keys.CONFIG_FILE).write_text("a: [")
    (run_dir / keys.ROLLOUT_DIR / "step_000011.jsonl").write_text('{"tokens": 3}\n\x00\n')
    page = page_of(run_dir)
    assert "summary.json is damaged" in page.words and "config.yaml is not readable YAML" in page.words


def test_report_older_traces_and_rollouts_of_the_folder_are_left_out(run_dir: Path) -> None:
    trace = run_dir / keys.TRACE_DIR / "trainer" / "traces-r0.jsonl"
    old = {"ph": "X", "name": "train_step", "cat": "compute", "ts": 1.0e15, "dur": 5, "pid": 1, "tid": 1}
    trace.write_text(json.dumps(old) + "\n" + trace.read_text())
    (run_dir / keys.ROLLOUT_DIR / "step_000500.jsonl").write_text('{"tokens": {"id": [1]}}\n')
    run = load_run(run_dir)
    assert min(span.start_s for span in run.spans) > 1.5e9 and 500 not in run.rollouts


def test_choose_rollouts_keeps_first_and_last_within_the_budget() -> None:
    rollouts = {step: [{"tokens": {"id": [0] * 100}}] for step in range(50)}
    chosen, num_left_out = choose_rollouts(rollouts, 1000)
    steps = [entry["step"] for entry in chosen]
    assert steps[0] == 0 and steps[-1] == 49 and len(steps) == 10 and num_left_out == 40
    assert choose_rollouts(rollouts, 10**6)[1] == 0 and choose_rollouts({}, 10) == ([], 0)


def test_report_of_no_folder_or_an_empty_one_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        build_report(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"stats\.jsonl"):
        build_report(tmp_path)


def test_command_prints_the_path_and_merges_the_traces(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, trace = run_dir / "out" / "r.html", run_dir / "trace.json"
    assert main(["report", str(run_dir), "--output", str(output), "--perfetto", str(trace)]) == 0
    assert capsys.readouterr().out.split() == [str(output), str(trace)]
    assert output.stat().st_size < 1_000_000 and json.loads(trace.read_text())["traceEvents"]
    assert main(["report", str(run_dir / "nowhere")]) == 2


def test_report_needs_no_torch(run_dir: Path) -> None:
    code = f"import sys; from areal.cli.main import main; main(['report', {str(run_dir)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0
