"""A plan has the best cells first and what a budget holds; small cells go from the command line to the record."""

import json
import signal
import time

import pytest
from mean_detector import MEAN, METHOD

from experiments import plan, speed
from experiments.cells import CellRun, RunSettings
from experiments.claims import claimed
from experiments.datasets import ThinningConfig
from experiments.paper import TABLES, Table
from experiments.plan import Part, fill_budget, parts, plan_text
from experiments.record import Row, read_table_rows
from experiments.reproduce import Reproduce, main, time_limit
from experiments.speed import Kind, Speed, models_that_fit, reckoned
from experiments.variants import VARIANTS, Variant
from sagan_jax import run_folder
from sagan_jax.config import TrainingConfig
from sagan_jax.errors import UserError
from sagan_jax.methods.table import METHODS

DIGITS = Table("digits", "digits", ("3", "4"), {}, size=16, epochs=15, train_images=1271, test_images=526)
FAST = Speed(models=1, compiling=10.0, training=100.0, scoring=1000.0, keeping=1.0)


def cell(abnormal="cat", method="sagan", preset="paper", seed=0, table=2):
    return CellRun(table, method, preset, abnormal, seed)


def part(minutes, *, epochs=1, seed=0):
    return Part((cell(seed=seed),), epochs, 0.0, 60 * minutes / epochs, 0.0, True)


def test_one_seed_of_everything_comes_first_and_in_it_sagan_and_in_it_cat_and_frog():
    wanted = Reproduce(budget_minutes=1, seeds=(0, 1)).wanted()
    assert [run[1:4] for run in wanted[:6]] == [
        ("sagan", "paper", "cat"),
        ("sagan", "reference", "cat"),
        ("sagan", "paper", "frog"),
        ("sagan", "reference", "frog"),
        ("sagan", "paper", "damaged"),
        ("sagan", "reference", "damaged"),
    ]
    seeds = [run.seed for run in wanted]
    assert seeds == sorted(seeds)
    methods = [run.method for run in wanted if run.seed == 0]
    assert methods.index("skip_ganomaly") > len(methods) - 1 - methods[::-1].index("sagan")
    assert len(set(wanted)) == len(wanted)


def test_a_method_whose_presets_agree_is_run_once():
    wanted = Reproduce(budget_minutes=1, methods=("ganomaly",)).wanted()
    assert {run.preset for run in wanted} == {"paper"}
    assert len(wanted) == 10 + 1


def test_a_budget_holds_what_fits_in_order_and_the_first_that_does_not_is_begun():
    first, long, short = part(10), part(100, epochs=10, seed=1), part(5, seed=2)
    chosen = fill_budget([first, long, short], 60 * 30)
    assert chosen == ([first, short], [long], [long])  # of the 15 minutes left, an epoch takes 10
    said = plan_text(chosen)
    assert "to be run: 2 cells, 15.0 minutes" in said
    assert "not held by the budget: 1 cells, which take 100.0 minutes more" in said
    assert "begun within what is left: table 2, SAGAN (paper), cat abnormal, seed 1" in said


def test_a_budget_for_nothing_says_what_an_epoch_takes():
    chosen = fill_budget([part(100, epochs=10)], 60)
    assert chosen.whole == chosen.begun == []
    assert "nothing fits: one epoch of the first cell takes 10.0 minutes" in plan_text(chosen)


def test_what_a_cell_takes_is_its_images_by_the_measured_speed(tmp_path):
    settings = RunSettings(runs=tmp_path, epochs=2, thinning=ThinningConfig(train_images=1000, test_images=500))
    first, second = parts(settings, [cell(), cell("frog")], {plan.kind_name(cell()): FAST})
    # An epoch: 950 images at 100/s, 50 held out and 500 tested at 1000/s, a checkpoint. The end: two more scorings.
    assert first.epoch == pytest.approx(9.5 + 0.55 + 1)
    assert first.seconds == pytest.approx(10 + 2 * 11.05 + 1 + plan.ENDING)
    assert second.seconds == pytest.approx(first.seconds - 10)  # compiled already
    (settings.folder(cell()) / "checkpoints" / "1").mkdir(parents=True)
    assert parts(settings, [cell()], {plan.kind_name(cell()): FAST})[0].epochs == 1


def test_cells_of_a_kind_train_as_one_program_where_their_epochs_agree(tmp_path):
    settings = RunSettings(runs=tmp_path)
    runs = [cell(abnormal, seed=seed) for seed in (0, 1) for abnormal in ("cat", "frog", "bird", "dog")]
    speeds = {plan.kind_name(cell()): FAST._replace(models=4)}
    for abnormal, epochs in (("frog", 3), ("bird", 4), ("dog", 9)):
        (settings.folder(cell(abnormal)) / "checkpoints" / str(epochs)).mkdir(parents=True)
    groups = [[(run.abnormal, run.seed) for run in part.runs] for part in parts(settings, runs, speeds)]
    assert groups[:3] == [[("cat", 0)], [("frog", 0), ("bird", 0)], [("dog", 0)]]
    assert [seed for _, seed in groups[3]] == [1] * 4
    joined = parts(settings, runs, speeds, join_seeds=True)
    assert [len(part.runs) for part in joined] == [5, 2, 1]
    assert joined[0].title == "table 2, SAGAN (paper), 4 classes, seeds 0, 1, as one program"


def test_a_devices_memory_is_filled_and_not_overrun():
    # 10 models in 110 bytes, 10 of them the images': 10 a model; 85 % of 300 is 255, less 10 for the images.
    assert models_that_fit(300, 10, 110, 10) == 24
    assert models_that_fit(60, 10, 110, 10) == 4
    assert models_that_fit(5, 10, 110, 10) == 1


def test_models_are_taken_away_until_the_compiler_says_they_fit(monkeypatch):
    kind = Kind(None, (1, 1, 1), 1, 10, None)  # type: ignore[arg-type]
    asked = []

    def program_memory(kind, models):
        asked.append(models)
        return 10 + 10 * models + (20 if models < 10 else 0)

    monkeypatch.setattr(plan, "program_memory", program_memory)
    monkeypatch.setattr(plan, "device_memory", lambda: 100)
    assert plan.models_at_once(kind, 10) == 5  # 7 of 10 would fit by the first answer, 5 of 7 by the second
    assert asked == [10, 7, 5]
    monkeypatch.setattr(plan, "device_memory", lambda: None)
    assert plan.models_at_once(kind, 10) == 10


def test_the_compiler_says_what_a_program_takes_and_each_model_adds_the_same():
    kind = Kind(MEAN, (16, 16, 3), 64, 80, TrainingConfig(epochs=1, batch_size=8))
    taken = [speed.program_memory(kind, models) for models in (2, 4, 8)]
    images, state = 80 * 16 * 16 * 3, 16 * 16 * 3 * 4
    assert taken[0] > images + 2 * state
    assert taken[2] - taken[1] == pytest.approx(2 * (taken[1] - taken[0]), rel=0.2)


def test_a_kind_of_twice_the_arithmetic_is_half_as_fast():
    slower = reckoned(FAST, 2.0)
    assert (slower.training, slower.scoring, slower.measured) == (50.0, 500.0, False)


def test_measuring_ends_and_the_rest_is_reckoned(monkeypatch, tmp_path):
    times = iter(range(0, 10_000, 30))
    monkeypatch.setattr(plan.time, "monotonic", lambda: next(times))  # each look at the clock is 30 s later
    monkeypatch.setattr(plan, "arithmetic", lambda kind: float(kind.image_shape[0]))  # at 32 px, whatever the table
    settings, lines = RunSettings(runs=tmp_path), []
    runs = [cell(), cell(table=3, abnormal="damaged")]
    speeds = plan.measure_kinds(settings, runs, False, lines.append, lambda *_: FAST)
    assert speeds[plan.kind_name(runs[0])] == FAST
    assert speeds[plan.kind_name(runs[1])] == reckoned(FAST, (128 / 32) ** 2)
    assert len(lines) == 1


def test_one_program_is_given_up_where_one_model_alone_is_faster(tmp_path):
    settings, lines = RunSettings(runs=tmp_path), []
    runs = [cell(), cell("frog")]

    def measured(kind, models, scratch):
        return FAST._replace(models=models, training=50.0 if models > 1 else 100.0)

    assert plan.measure_kinds(settings, runs, True, lines.append, measured)[plan.kind_name(cell())].models == 1
    kept = plan.measure_kinds(settings, runs, True, lines.append, measured, always=True)
    assert kept[plan.kind_name(cell())].models == 2


def test_time_is_over_when_it_is():
    started = time.monotonic()
    with time_limit(0.05) as limit:
        time.sleep(20)
    assert limit.reached
    assert time.monotonic() - started < 10
    with time_limit(20) as limit:
        pass
    assert not limit.reached
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_what_is_on_record_is_not_run_again(tmp_path):
    settings = Reproduce(budget_minutes=1, runs=tmp_path)
    full = {"dataset": "cifar10", "method": "sagan", "preset": "paper", "abnormal": "cat", "seed": 0, "size": 32}
    full |= {"epochs": 15, "train_images": 45_000, "test_images": 15_000, "auroc": 0.5, "low": None, "high": None}
    full |= {"commit": "c", "date": "t", "machine": "m", "command": "x"}
    rows = [Row(**full, protocol=protocol) for protocol in ("reference", "strict")]
    run_folder.write_csv(tmp_path / "table2.csv", Row._fields, rows[:1])
    assert not settings.is_done(cell())
    run_folder.write_csv(tmp_path / "table2.csv", Row._fields, rows)
    assert settings.is_done(cell())
    assert not settings.is_done(cell("frog"))
    assert not Reproduce(budget_minutes=1, runs=tmp_path, epochs=14).is_done(cell())


def test_a_run_that_ended_after_fewer_epochs_goes_on(tmp_path):
    settings = Reproduce(budget_minutes=1, runs=tmp_path, epochs=3)
    folder = settings.folder(cell("bird"))
    folder.mkdir(parents=True)
    for epochs, ended in ((2, False), (3, True), (4, True)):
        result = {"training": {"epochs": epochs}, "image_shape": [32, 32, 3]}
        (folder / "result.json").write_text(json.dumps(result))
        assert settings.is_done(cell("bird")) == ended
    with pytest.raises(UserError, match="a run of 32 pixels, not 64"):
        Reproduce(budget_minutes=1, runs=tmp_path, epochs=3, size=64).is_done(cell("bird"))


@pytest.fixture
def digits(monkeypatch):
    monkeypatch.setitem(TABLES, 2, DIGITS)
    monkeypatch.setitem(METHODS, "mean", METHOD)
    monkeypatch.setitem(VARIANTS, "mean", Variant("Mean", "mean"))
    monkeypatch.setattr(plan, "FIRST", ("4",))
    monkeypatch.setattr(speed, "LEAST_SECONDS", 0.01)


def test_small_cells_are_planned_run_recorded_and_not_run_again(tmp_path, capsys, digits):
    flags = ["--budget-minutes=30", "--tables", "2", "--methods", "mean", "--epochs=1", f"--runs={tmp_path}"]
    flags += ["--train-images=150", "--test-images=20"]
    assert main([*flags, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "2 cells wanted, 0 of them on record" in printed
    assert printed.index("4 abnormal, seed 0") < printed.index("3 abnormal, seed 0")
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path / "table2" / "mean-paper" / "4" / "seed0"):
        assert main(flags) == 0
    assert "4 abnormal, seed 0 is being trained elsewhere" in capsys.readouterr().err
    rows = read_table_rows(tmp_path / "table2.csv")
    assert [(row.abnormal, row.protocol, row.method) for row in rows] == [
        ("3", "reference", "mean"),
        ("3", "strict", "mean"),
    ]
    assert main([*flags, "--together=vmap"]) == 0
    assert "2 cells wanted, 1 of them on record" in capsys.readouterr().out
    assert len(read_table_rows(tmp_path / "table2.csv")) == 4
    assert main(flags) == 0
    assert "2 cells wanted, 2 of them on record" in capsys.readouterr().out


def test_classes_side_by_side_give_what_each_gives_alone(tmp_path, digits):
    flags = ["--budget-minutes=30", "--tables", "2", "--methods", "mean", "--epochs=1"]
    flags += ["--train-images=150", "--test-images=20"]
    assert main([*flags, f"--runs={tmp_path / 'together'}", "--together=vmap"]) == 0
    assert main([*flags, f"--runs={tmp_path / 'alone'}", "--together=no"]) == 0
    together, alone = (read_table_rows(tmp_path / name / "table2.csv") for name in ("together", "alone"))
    assert [row.cell for row in together] == [row.cell for row in alone]
    assert [row.auroc for row in together] == pytest.approx([row.auroc for row in alone], abs=0.02)


@pytest.mark.parametrize(
    ("flag", "said"), [("--methods=nothing", "methods has nothing"), ("--budget-minutes=0", "budget_minutes is 0")]
)
def test_what_cannot_be_planned_is_refused_by_name(flag, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--budget-minutes=1", flag] if "budget" not in flag else [flag])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
