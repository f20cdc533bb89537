"""The small comparison runs, goes on, and is made again from its evidence alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import t as student

from memcontrol.cli import main
from memcontrol.compare.cells import choose
from memcontrol.compare.claims import judge_claims
from memcontrol.compare.evidence import Candidate
from memcontrol.compare.methods import Method, best_by_hand, is_configuration, is_plain, methods_of
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.rows import Row, p_better, read_rows, smallest_shown
from memcontrol.compare.run import _Comparison, _Run
from memcontrol.compare.searches import check_searches, read_fronts
from memcontrol.errors import SearchError
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.journal import Journal
from memcontrol.jobs.job import JobResult
from memcontrol.measures import Point
from tests.memcontrol.search.conf import Inline, inline_workers


@pytest.fixture(autouse=True)
def workers():
    """The runs of this file train in this process."""
    with inline_workers():
        yield


def arguments(folder, methods, evidence, *more):
    return [
        "compare", "--config=compare/smoke.yaml", f"--compare.folder={folder}", f"--compare.evidence={evidence}",
        f"--compare.methods=[{methods}]", f"--data.cache.folder={folder.parent / 'cache'}", "--trainer.max_steps=2",
        "--trainer.val_check_interval=1", "--compare.threads=1", "--compare.scoring.sampling.steps=2",
        "--compare.scoring.num_images=8", *more,
    ]  # fmt: skip


def events(folder, kind):
    return [e for e in Journal(folder / "journal.jsonl").events() if e["event"] == kind]


@pytest.mark.whole
def test_smoke(tmp_path, capsys):
    methods, folder, evidence = tmp_path / "methods", tmp_path / "compare", tmp_path / "evidence"
    methods.mkdir()
    (methods / "svdiff.yaml").write_text("model: {adapter: {class_path: memcontrol.adapters.SVDiffConfig}}\n")
    main(arguments(folder, methods, evidence))
    assert {p.stem for p in evidence.glob("*.json")} == {"base-seed0", "svdiff-seed0"}
    (methods / "mine.yaml").write_text("model: {adapter: {class_path: peft.LoraConfig, init_args: {r: 2}}}\n")
    main(arguments(folder, methods, evidence, "--compare.seeds=[0,1]"))
    assert len(events(folder, "run")) == 4  # both methods with both seeds: nothing was trained twice
    table = pd.read_csv(folder / "table.csv")
    assert set(table["method"]) == {"base", "svdiff", "mine"}
    assert set(table["seeds"]) == {2}
    assert all((folder / f"{name}.png").stat().st_size > 5000 for name in ("tradeoff", "validation", "grid"))
    records = [json.loads((evidence / f"mine-seed{seed}.json").read_text()) for seed in (0, 1)]
    assert records[0]["chosen"] == records[1]["chosen"]
    assert len(records[0]["candidates"]) == 2
    losses = [record["values"]["membership_auc"] for record in records]
    assert len(losses[0]["inside"]) == len(losses[0]["patients"])
    assert losses[0]["inside"] != losses[1]["inside"]
    assert [record["extraction"]["prompts"] for record in records] == [2, 2]
    assert table["extraction"].str.contains("of 4 prompts").all()
    assert "radiograph" not in json.dumps(records)
    clone = tmp_path / "clone"
    main(arguments(clone, methods, evidence, "--compare.report_only=true"))
    assert not (clone / "journal.jsonl").exists()
    assert pd.read_csv(clone / "table.csv").equals(table)
    assert (clone / "claims.md").read_text() == (folder / "claims.md").read_text()
    (methods / "mine.yaml").write_text("model: {adapter: {class_path: peft.LoraConfig, init_args: {r: 4}}}\n")
    with pytest.raises(SystemExit):
        main(arguments(folder, methods, evidence, "--compare.seeds=[0,1]"))
    assert "another overlay of 'mine'" in capsys.readouterr().err
    record = records[0] | {"method": "theirs", "setting": "0123:4567"}
    (evidence / "theirs-seed0.json").write_text(json.dumps(record))
    with pytest.raises(SearchError, match="made under different configs"):
        read_rows(evidence, CompareOptions())


def test_what_failed_is_no_choice(tmp_path, capsys):
    methods, folder, evidence = tmp_path / "methods", tmp_path / "compare", tmp_path / "evidence"
    methods.mkdir()
    (methods / "broken.yaml").write_text("model: {adapter: {class_path: peft.LoraConfig, init_args: {r: 0}}}\n")
    with pytest.raises(SystemExit):
        main(arguments(folder, methods, evidence))
    said = capsys.readouterr().err
    assert "runs failed, so a choice between learning rates would leave them out" in said
    assert "AdapterError: Argument `adapter` is LoraConfig" in said
    assert not list(evidence.glob("broken*"))


def test_a_journal_names_no_patient(tmp_path, monkeypatch):
    overlay = tmp_path / "svdiff.yaml"
    overlay.write_text("model: {}\n")
    whole = "DataError: '/data/files/p10/p10000032/a.jpg' is damaged"
    monkeypatch.setattr("memcontrol.jobs.loop.run_job", lambda job: JobResult(whole))
    config = ResolvedConfig({"data": {}}, {})
    comparison = _Comparison(tmp_path, config, [], CompareOptions(), "", "", False)
    run = _Run(Method("svdiff", overlay), 0, 1e-3)
    with pytest.raises(SearchError, match="DataError: '<path>' is damaged"):
        comparison._train([run], Inline())
    assert "p10" not in (tmp_path / "journal.jsonl").read_text()
    assert whole in (tmp_path / "runs" / run.name / "trial.log").read_text()


def test_runs_must_be_rewarded_for_what_is_compared(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(arguments(tmp_path / "compare", "compare/methods/bias.yaml", tmp_path, "--compare.quality=fid"))
    assert "needs one RewardsCallback whose `memorization` and `quality`" in capsys.readouterr().err


SEEDS = np.array([-0.002, 0.0, 0.002])


def row(method, trained, auc, kid, error=0.01):
    values = {"membership_auc": auc + SEEDS, "kid": kid + SEEDS}
    errors = {"membership_auc": error, "kid": error}
    directions = {"membership_auc": False, "kid": False}
    mitigates = "full" if method == "full_rwa" else None
    return Row(method, (0, 1, 2), trained, trained / 900, values, errors, {}, directions, mitigates=mitigates)


ROWS = [
    row("base", 0, 0.5, 3.0),
    row("svdiff", 15, 0.6, 1.0),
    row("svdiff_found", 10, 0.52, 0.98),
    row("svdiff_random1", 10, 0.58, 1.1),
    row("norm_bias", 5, 0.55, 1.4),
    row("lora_r4", 60, 0.7, 0.9),
    row("attention", 300, 0.8, 0.95),
    row("full", 900, 0.95, 0.99),
    row("full_rwa", 900, 0.94, 0.99),
]


def judged(rows, **options):
    return {c.number: c for c in judge_claims(rows, CompareOptions(**options))}


def test_claims_that_hold():
    found = judged(ROWS)
    assert found[1].verdict == found[2].verdict == found[3].verdict == "holds"
    assert found[5].verdict == "undecided at this n"
    assert "random1" in found[3].figure
    assert judged(ROWS, transfer=True)[4].verdict == "holds"


def test_claims_that_fail():
    rows = [*ROWS[:2], row("svdiff_found", 10, 0.9, 1.5), *ROWS[3:]]
    assert judged(rows)[3].verdict == "does not hold"


def test_equal_masks_are_undecided():
    """A point estimate that another one dominates shows nothing."""
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(40):
        noise = rng.normal(0, 0.01, size=(4, 2))
        masks = ["svdiff_found", *(f"svdiff_random{i}" for i in (1, 2, 3))]
        rows = [row(name, 10, 0.6 + a, 1.0 + b) for name, (a, b) in zip(masks, noise, strict=True)]
        verdicts.append(judged([*ROWS[:2], *rows, *ROWS[5:]])[3].verdict)
    assert verdicts.count("does not hold") <= 6


def test_copies_of_one_method_are_no_evidence_for_capacity():
    masks = [row(f"svdiff_random{i}", 10 + i, 0.6 + 0.001 * i, 1.0) for i in range(1, 8)]
    claim = judged([row("base", 0, 0.5, 3.0), row("svdiff", 15, 0.61, 1.0), *masks])[1]
    assert (claim.p, claim.verdict) == (None, "undecided at this n")


def test_one_seed_decides_nothing():
    rows = [replace(r, seeds=(0,), values={k: v[:1] for k, v in r.values.items()}) for r in ROWS]
    assert {judged(rows)[number].verdict for number in (2, 3, 5)} == {"undecided at this n"}


def test_few_seeds_have_few_degrees_of_freedom():
    a, b = row("svdiff", 15, 0.60, 1.0, 0.0), row("full", 900, 0.62, 1.0, 0.0)
    a.values["membership_auc"], b.values["membership_auc"] = np.array([0.6, 0.61, 0.59]), np.array([0.62, 0.61, 0.63])
    error = np.sqrt(2 * np.var([-0.01, 0, 0.01], ddof=1) / 3)
    row_of = {"a": replace(a, seeds=(0, 1, 2), errors={"membership_auc": error / 2**0.5}),
              "b": replace(b, seeds=(3, 4, 5), errors={"membership_auc": error / 2**0.5})}  # fmt: skip
    expected = student.sf(0.02 / error, 2)
    assert p_better(row_of["a"], row_of["b"], "membership_auc") == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("of_seeds", [0.1, 1.0, 3.0])
def test_an_interval_over_three_seeds_holds_the_mean(of_seeds):
    rng, inside, normal = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        values = 0.6 + 0.01 * rng.normal() + 0.01 * np.sqrt(3 * of_seeds) * rng.normal(size=3)
        error = float(np.sqrt(0.01**2 + np.var(values, ddof=1) / 3))
        found = replace(row("svdiff", 15, 0.6, 1.0, 0.0), values={"kid": values}, errors={"kid": error})
        found = replace(found, patients={"kid": 60})
        inside += abs(found.mean("kid") - 0.6) <= found.reach("kid")
        normal += abs(found.mean("kid") - 0.6) <= 1.96 * error
    assert 0.92 <= inside / 2000 <= 0.985  # Satterthwaite is an approximation: with three seeds it misses a little
    assert normal < inside


def test_the_smallest_difference_shown_is_shown_four_times_in_five():
    rng = np.random.default_rng(0)
    patients, seeds = 0.02, 0.015

    def at(gap):
        shared, own = rng.normal(0, patients), rng.normal(0, seeds, (2, 3))
        a, b = row("svdiff", 15, 0.6, 1.0, 0.0), row("full", 900, 0.6, 1.0, 0.0)
        a.values["membership_auc"], b.values["membership_auc"] = 0.6 - gap + shared + own[0], 0.6 + own[1]
        a.replicates["membership_auc"], b.replicates["membership_auc"] = rng.normal(0, patients, 400), np.zeros(400)
        return replace(a, patients={"membership_auc": 60}), b

    gap = float(np.mean([smallest_shown(*at(0.0), "membership_auc") for _ in range(300)]))
    hits = np.mean([p_better(*at(gap), "membership_auc") < 0.05 for _ in range(1000)])
    assert 0.7 < hits < 0.9
    one_seed = [replace(r, seeds=(0,), values={k: v[:1] for k, v in r.values.items()}) for r in ROWS[:2]]
    assert np.isnan(smallest_shown(*one_seed, "kid"))


def test_a_measure_without_an_interval_decides_nothing():
    rows = [row("full", 900, 0.9, 1.0, float("nan")), row("lora_r4", 60, 0.6, 1.0, float("nan"))]
    assert judged(rows)[2].verdict == "undecided at this n"


def test_of_many_tests_the_clearest_is_no_refutation():
    rows = [row("full", 900, 0.70, 1.0), *(row(f"lora_r{i}", 60, 0.70 - 0.0001 * i, 1.0) for i in range(1, 9))]
    claim = judged(rows)[2]
    assert claim.p == 1
    assert claim.verdict == "undecided at this n"


def test_paired_draws_find_what_unpaired_ones_miss():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, 500)
    a, b = row("svdiff", 15, 0.60, 1.0, 0.1), row("full", 900, 0.65, 1.0, 0.1)
    assert p_better(a, b, "membership_auc") > 0.3
    a.replicates["membership_auc"], b.replicates["membership_auc"] = (
        0.6 + shared,
        0.65 + shared + rng.normal(0, 0.01, 500),
    )
    assert p_better(a, b, "membership_auc") < 0.001


def test_of_equal_memorization_the_better_quality_is_chosen():
    candidates = [Candidate(1e-3, Point(step, pair)) for step, pair in enumerate([(0.0, -1.05), (0.0, -1.0)], 1)]
    assert choose(candidates, 0.1).point.step == 2  # the first is dominated, and its checkpoint is gone


@pytest.mark.parametrize(("margin", "expected"), [(0.1, 2), (0.0, 1)])
def test_rule_of_selection(margin, expected):
    rewards = [(-0.9, -1.0), (-0.6, -1.05), (-0.5, -2.0)]
    candidates = [Candidate(1e-3, Point(step, pair)) for step, pair in enumerate(rewards, 1)]
    assert choose(candidates, margin).point.step == expected


def test_found_masks_get_random_ones_of_equal_size(tmp_path):
    best = tmp_path / "best.yaml"
    best.write_text(yaml.safe_dump({"model": {"mask": [1, 0, 0, 1, 0], "optimizer": {"lr": 0.1}}}))
    options = CompareOptions(found={"full": str(best)}, random_masks=3)
    made = {m.name: m for m in methods_of(options, tmp_path / "made") if m.name.startswith("full_")}
    masks = {name: yaml.safe_load(m.overlay.read_text())["model"].get("mask") for name, m in made.items()}
    assert masks["full_found"] == [1, 0, 0, 1, 0]
    others = [masks[f"full_random{number}"] for number in (1, 2, 3)]
    assert all(sum(mask) == 2 for mask in others)
    assert len({*map(tuple, others), (1, 0, 0, 1, 0)}) == 4
    assert made["full_found"].lr_factor == 0.1
    best.write_text("model: {mask: all}")
    with pytest.raises(SearchError, match=r"has no `model\.mask` of bits"):
        methods_of(options, tmp_path / "made")
    with pytest.raises(SearchError, match="which is no method"):
        methods_of(CompareOptions(found={"nothing": str(best)}), tmp_path / "made")


def test_kinds_of_methods(tmp_path):
    plain = [n for n in ("base", "full", "lora_r4", "norm_bias", "svdiff_found", "svdiff_random2") if is_plain(n)]
    assert plain == ["lora_r4", "norm_bias"]
    overlays = {
        "full_slow": {"mitigations": []},
        "full_words": {"mitigations": ["memcontrol.mitigation.RandomWordAddition"]},
        "full_late": {"sampling": {"guidance_start": 0.2}},
    }
    for name, model in overlays.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"model": model}))
    found = {m.name: m.mitigates for m in methods_of(CompareOptions(methods=[str(tmp_path)]), tmp_path / "made")}
    assert found == {"base": None, "full_slow": None, "full_words": "full", "full_late": "full"}


CONFIGURATION = {
    "model": {
        "slots": "parts", "mask": "all", "optimizer": {"lr": 2e-3}, "scale": 0.8,
        "adapter": {"class_path": "peft.LoraConfig", "init_args": {"r": 2}},
    },
    "trainer": {"max_steps": 2},
}  # fmt: skip


def test_a_found_configuration_is_a_row_as_it_stands(tmp_path):
    best = tmp_path / "best.yaml"
    best.write_text(yaml.safe_dump(CONFIGURATION))
    made = methods_of(
        CompareOptions(methods=["compare/methods/full.yaml"], found={"wide": str(best)}), tmp_path / "made"
    )
    (found,) = (m for m in made if m.name == "wide_found")
    assert found.overlay == best
    assert found.lrs([1.0, 2.0]) == [2e-3]
    assert made[1].lrs([1.0, 2.0]) == [0.1, 0.2]
    assert not any("random" in m.name for m in made)
    names = {m.name for m in made} | {"svdiff", "svdiff_found"}
    assert [name for name in sorted(names) if is_configuration(name, names)] == ["wide_found"]
    del CONFIGURATION["model"]["optimizer"]["lr"]
    best.write_text(yaml.safe_dump(CONFIGURATION))
    CONFIGURATION["model"]["optimizer"]["lr"] = 2e-3
    with pytest.raises(SearchError, match="names an adapter but no learning rate"):
        methods_of(CompareOptions(found={"wide": str(best)}), tmp_path / "made")


def test_the_best_by_hand_is_chosen_as_a_trial_is():
    rewards = {"full": (-0.9, -0.1), "wide_found": (-0.5, -0.1), "a": (-0.7, -1.0), "b": (-0.6, -1.05), "c": (-0.5, -2)}
    assert best_by_hand(rewards, 0.1) == "b"
    assert best_by_hand(rewards, 0.0) == "a"
    assert best_by_hand({"full": (-0.9, -0.1), "base": (-0.5, -3.0)}, 0.1) is None


def chosen(found, auc=None, kid=None):
    """Return a row with what was chosen on validation patients; by default what test patients show."""
    pair = (-(auc or found.mean("membership_auc")), -(kid or found.mean("kid")))
    return replace(found, chosen={"lr": 0.1, "step": 1}, candidates=(Candidate(0.1, Point(1, pair)),))


def attacked(found, auc):
    found.values["membership_lira"], found.errors["membership_lira"] = auc + SEEDS, 0.01
    found.directions["membership_lira"] = False
    return found


def wide_rows(auc=0.6, kid=1.0, lira=0.7):
    rows = [row("base", 0, 0.5, 3.0), row("full", 900, 0.95, 0.99), row("lora_r4", 60, 0.7, 1.0),
            row("lora_r16", 90, 0.8, 0.97), row("svdiff", 15, 0.6, 2.0), row("wide_found", 60, auc, kid)]  # fmt: skip
    return [attacked(chosen(r) if r.method != "base" else r, lira if r.method == "wide_found" else 0.9) for r in rows]


def test_a_found_configuration_must_beat_full_and_the_best_by_hand_under_each_attack():
    options = {"attacks": ["membership_lira"]}
    claim = judged(wide_rows(), **options)[7]
    assert claim.verdict == "holds"
    assert claim.figure.startswith("6 of 6 tests")
    assert 3 not in judged(wide_rows(), **options)  # no mask of one adapter was found
    for worse, words in (({"auc": 0.75}, "membership_auc against lora_r4"), ({"kid": 1.3}, "kid against"),
                         ({"lira": 0.95}, "membership_lira against")):  # fmt: skip
        claim = judged(wide_rows(**worse), **options)[7]
        assert claim.verdict == "does not hold", worse
        assert words in claim.figure
    assert judged(wide_rows(auc=0.695), **options)[7].verdict == "undecided at this n"


def test_a_found_configuration_is_compared_at_its_own_quality():
    claim = judged(wide_rows(kid=1.9), attacks=["membership_lira"])[10]
    assert claim.figure.startswith("against svdiff: membership_auc 0.6 against 0.6")
    assert claim.verdict == "undecided at this n"
    claim = judged(wide_rows(auc=0.55, kid=1.9), attacks=["membership_lira"])[10]
    assert claim.verdict == "holds"
    assert judged(wide_rows(auc=0.65, kid=1.9))[10].verdict == "does not hold"
    rows = [chosen(r, kid=0.1) if r.method == "wide_found" else r for r in wide_rows()]
    assert "no row made by hand is as good" in judged(rows)[10].figure


def test_what_was_not_measured_decides_nothing():
    rows = [r for r in wide_rows() if r.method != "full"]
    assert "no full fine-tuning" in judged(rows, attacks=["membership_lira"])[7].figure
    rows = wide_rows()
    del rows[1].values["membership_lira"]
    claim = judged(rows, attacks=["membership_lira"])[7]
    assert (claim.verdict, claim.figure) == ("undecided at this n", "not measured: ['membership_lira']")


def test_each_lever_is_a_claim_of_its_own():
    rows = [*ROWS[:-1], replace(row("full_half", 900, 0.8, 1.0), mitigates="full"),
            replace(row("full_late", 900, 0.7, 2.0), mitigates="full")]  # fmt: skip
    assert 8 not in judged(rows)
    claims = judge_claims(rows, CompareOptions(levers=True))
    verdicts = {c.text.split()[0]: c.verdict for c in claims if c.number == 8}
    assert verdicts == {"full_half": "holds", "full_late": "does not hold"}


def test_an_overlay_names_what_it_is_a_lever_of(tmp_path):
    (tmp_path / "full_half.yaml").write_text("# lever_of: full\nmodel: {scale: 0.5}\n")
    (tmp_path / "full_twice.yaml").write_text("model: {scale: 0.5}\n")
    found = {m.name: m.mitigates for m in methods_of(CompareOptions(methods=[str(tmp_path)]), tmp_path / "made")}
    assert found == {"base": None, "full_half": "full", "full_twice": None}


@pytest.mark.parametrize("options", [{"attacks": ["kid"]}, {"attacks": ["nothing"]}, {"shadows": 3}, {"shadows": -2}])
def test_impossible_attacks_are_refused(options):
    with pytest.raises(SearchError, match=rf"`compare\.{next(iter(options))}`"):
        CompareOptions(**options)


@pytest.mark.whole
def test_a_found_configuration_and_shadow_models(tmp_path):
    """The found row keeps its rate, step and scale; shadow models are trained once, also where cells were scored."""
    best, methods = tmp_path / "best.yaml", tmp_path / "methods"
    best.write_text(yaml.safe_dump(CONFIGURATION))
    methods.mkdir()
    (methods / "full.yaml").write_text(
        "model: {adapter: {class_path: memcontrol.adapters.SelectiveConfig, init_args: {tune: full}}}\n"
    )
    (methods / "svdiff.yaml").write_text("model: {adapter: {class_path: memcontrol.adapters.SVDiffConfig}}\n")
    folder, evidence = tmp_path / "compare", tmp_path / "evidence"
    found = f"--compare.found={{wide: {best}}}"
    main(arguments(folder, methods, evidence, found))
    before = len(events(folder, "run"))
    attacks = ["--compare.shadows=2", "--compare.attacks=[membership_lira]", "--compare.seeds=[0,1]"]
    main(arguments(folder, methods, evidence, found, *attacks))
    runs = [e["folder"] for e in events(folder, "run")][before:]
    assert sorted(r for r in runs if "shadow" in r) == sorted(r for r in {*runs} if "shadow" in r)
    assert len([r for r in runs if "shadow" in r]) == 6  # of the found one, of full, and of the best by hand
    assert len([r for r in runs if "seed1" in r]) == 3
    record = json.loads((evidence / "wide_found-seed0.json").read_text())
    assert record["chosen"] == {"lr": 2e-3, "step": 2}
    assert record["candidates"][-1]["scale"] == 0.8
    table = {
        name: json.loads((evidence / f"{name}-seed1.json").read_text()) for name in ("wide_found", "full", "svdiff")
    }
    assert all(0 <= r["measures"]["membership_lira"]["value"]["value"] <= 1 for r in table.values())
    sides = [r["values"]["membership_lira"]["patients"] for r in table.values()]
    assert sides[0] == sides[1] == sides[2]  # so differences are paired
    main(arguments(folder, methods, evidence, found, *attacks))
    assert len(events(folder, "run")) == before + len(runs)  # nothing is done again
    assert "the found configuration wide_found" in (folder / "claims.md").read_text()


def searched(folder, points, names):
    """Write the journal of a search with one trial per point, rewarded for the named measures; returns its folder."""
    journal = Journal(folder / "journal.jsonl")
    for number, values in enumerate(points):
        measures = {n: {"value": v, "low": v - 0.02, "high": v + 0.02} for n, v in values.items()}
        point = {"step": 1, "rewards": [-values[name] for name in names], "measures": measures}
        journal.append("ask", number=number, mask=[number], units=[], values={}, digest=str(number), seed=0)
        journal.append(
            "finish", number=number, state="COMPLETE", points=[point], told=None, error=None, seconds={}, attempts=1
        )
    return str(folder)


def points_of(front, other):
    """Return points whose first pair lies on a front, and whose second pair is best where `other` says so."""
    return [{"membership_auc": a, "kid": k, "amd": x, "fid": y} for (a, k), (x, y) in zip(front, other, strict=True)]


FRONT = [(0.5, 1.5), (0.6, 1.0), (0.8, 0.8), (0.9, 1.6)]


@pytest.mark.parametrize(
    ("other", "share", "verdict"),
    [
        ([(1, 3), (2, 2), (3, 1), (4, 4)], 1.0, "holds"),  # the other pair orders the same points alike
        ([(4, 4), (3, 3), (2, 2), (1, 1)], 0.0, "does not hold"),  # its best is the first pair's worst
    ],
)
def test_rewards_are_exchangeable_where_another_search_finds_as_large_a_front(tmp_path, other, share, verdict):
    first = searched(tmp_path / "first", points_of(FRONT, FRONT), ["membership_auc", "kid"])
    longer = [*FRONT, (0.4, 0.4)], [*other, (0, 0)]  # a fifth trial, which the first search had no budget for
    second = searched(tmp_path / "second", points_of(*longer), ["amd", "fid"])
    fronts = read_fronts([first, second], ["membership_auc", "kid"], {"membership_auc": False, "kid": False})
    claims = {c.number: c for c in judge_claims(ROWS, CompareOptions(), fronts)}
    assert claims[6].verdict == verdict
    assert f"second: {share:.3g} of the first one's" in claims[6].figure


def test_a_folder_without_a_study_is_named(tmp_path):
    with pytest.raises(SearchError, match="holds no journal"):
        check_searches([str(tmp_path)])
