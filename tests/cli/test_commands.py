"""The command line: what is printed and written, what comes back, what is refused."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from click.testing import CliRunner

import fixproj as fp
from fixproj import nn
from fixproj._cli import fixproj
from fixproj._cli._methods import METHODS
from fixproj.puzzles._why import (  # pyright: ignore[reportMissingImports]
    why_infeasible,
)


pytestmark = pytest.mark.one_precision


def run(*args, code=0):
    result = CliRunner().invoke(fixproj, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two features and a class that is linear in them."""
    path = tmp_path_factory.mktemp("data") / "table.csv"
    x = np.random.default_rng(0).normal(size=(120, 2))
    kinds = np.where(x[:, 0] + 0.5 * x[:, 1] > 0, "yes", "no")
    lines = [f"{a},{b},{kind}" for (a, b), kind in zip(x, kinds, strict=True)]
    path.write_text("a,b,kind\n" + "\n".join(lines) + "\n")
    return path


def test_train_prints_json_only(table):
    args = ("train", "--dataset", table, "--method", "sgd", "--network", "linear")
    found = json.loads(run(*args, "--seeds", 3, 1, "--epochs", 8, "--json").stdout)
    assert [row["seed"] for row in found["runs"]] == [3, 1]
    assert all(row["test_accuracy"] > 0.8 for row in found["runs"])
    assert all(len(curves["epoch"]) == 8 for curves in found["curves"])


def test_closed_form_training(table):
    args = ("train", "--dataset", table, "--method", "zorb", "--seeds", 0, "--json")
    network = ("--network", "Dense[16] Sigmoid Dense[2] Softmax")
    found = json.loads(run(*args, *network).stdout)
    assert found["runs"][0]["test_accuracy"] > 0.8
    assert found["curves"][0]["epoch"] == [1]


def test_resumed_training_is_the_uninterrupted_one(table, tmp_path):
    common = ("train", "--dataset", table, "--method", "adam", "--network", "linear")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(*common, "--epochs", 4, "--out", whole)
    run(*common, "--epochs", 2, "--out", parts)
    assert "--resume" in run(*common, "--out", parts, code=1).stderr
    run(*common, "--epochs", 4, "--out", parts, "--resume")
    read = lambda folder: json.loads((folder / "summary.json").read_text())[0]
    assert read(whole)["test_loss"] == read(parts)["test_loss"]
    assert read(parts)["epochs"] == 4
    with (parts / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == list("1234")
    other = ("--batch-size", 7, "--out", parts, "--resume")
    assert "batch_size was 64" in run(*common, *other, code=1).stderr
    saved = ("--load", parts / "adam-0.model", "--no-train", "--json")
    again = json.loads(run(*common, *saved).stdout)["runs"][0]
    assert again["test_loss"] == pytest.approx(read(parts)["test_loss"], rel=1e-6)
    assert again["epochs"] == 0


def test_compare_writes_a_page_that_needs_nothing_else(table, tmp_path):
    out = tmp_path / "out"
    result = run(
        "compare", "--dataset", table, "--methods", "projections", "sgd", "--out", out,
        "--network", "linear", "--epochs", 3, "--seeds", "0-1",
        "-o", "projections:sweeps=1", "-o", "sgd:learning_rate=0.3",
    )  # fmt: skip
    assert re.search(r"^projections +[01]\.?\d* ", result.stdout, re.MULTILINE)
    with (out / "summary.csv").open() as file:
        rows = [(row["method"], row["seed"]) for row in csv.DictReader(file)]
    assert rows == [(m, s) for m in ("projections", "sgd") for s in "01"]
    with (out / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert "data:image/png;base64" in page and "<td>projections</td>" in page
    sources = re.findall(r"""(?:src|href)=['"](.*?)['"]""", page)
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|@import|url\(", page)
    found = json.loads((out / "results.json").read_text())
    scores = [r["test_accuracy"] for r in found["runs"] if r["method"] == "sgd"]
    assert found["table"][1]["test accuracy"] == pytest.approx(np.mean(scores))
    assert found["table"][1]["+-"] == pytest.approx(np.std(scores, ddof=1))


def test_a_training_that_diverges_is_code_3(table):
    args = ("train", "--dataset", table, "--method", "sgd", "--network", "mlp:8")
    result = run(*args, "--learning-rate", 1e30, "--epochs", 3, code=3)
    assert "NaN or infinite" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "args, code, message",
    [
        (["train", "--method", "magic"], 1, "No method 'magic'; there are proj"),
        (["train", "--network", "Dense[3"], 1, "\\^{7}"),
        (["train", "--dataset", "gone.csv"], 1, "no file 'gone.csv'"),
        (["train", "--seeds", "x"], 2, "'x' is no seed"),
        (["train", "--epochs", "0"], 2, "0 is not in the range"),
        (["train", "-o", "sweeps"], 2, "not like sweeps=3"),
        (["train", "-o", "speed=3"], 1, "no option 'speed'; it has granularity"),
        (["train", "-o", "sweeps=0"], 1, "sweeps must be at least 1"),
        (["train", "--learning-rate", "1"], 1, "no learning rate"),
        (["train", "--no-train"], 2, "needs --load"),
        (["train", "--resume"], 2, "needs --out"),
        (["compare", "--methods", "adam", "-o", "sgd:nesterov=true"], 2, "not among"),
        (["compare", "-o", "sweeps=3"], 2, "not like projections:sweeps=3"),
        (["solve", "gone.npz"], 2, "does not exist"),
        (["fly"], 2, "No such command"),
    ],
)
def test_errors_are_messages(args, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*args, code=code)
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.stderr and not result.stdout


def test_debug_shows_the_traceback():
    assert "Traceback" in run("train", "--method", "magic", "--debug", code=1).stderr


def test_a_method_that_the_build_lacks_says_so(monkeypatch):
    monkeypatch.setattr(METHODS["zorb"].__class__, "available", False)
    result = run("train", "--method", "zorb", code=1)
    assert "needs fixproj.nn.ZORB, which this build does not have" in result.stderr


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.available])
def test_every_method_makes_a_trainer(name):
    trainer = METHODS[name].make("cross_entropy", None, {})
    assert isinstance(trainer, nn.AbstractTrainer)


def test_what_pjax_takes():
    make = METHODS["dm"].make
    trainer = make("cross_entropy", None, {"beta": 0.5, "sweeps": 7, "loss": "margin"})
    assert isinstance(trainer, nn.Projections) and trainer.granularity == "neuron"
    assert isinstance(trainer.method, fp.DifferenceMap) and trainer.method.beta == 0.5
    assert (trainer.sweeps, trainer.loss) == (7, "margin")
    message = run("train", "--method", "ap", "-o", "beta=1", code=1).stderr
    assert "no option 'beta'" in message


def test_solve_programs(tmp_path):
    P, q = np.array([[4.0, 1], [1, 2]]), np.array([1.0, 1])
    A = np.array([[1.0, 1], [1, 0], [0, 1]])
    path, out = tmp_path / "program.npz", tmp_path / "answer.npz"
    np.savez(path, P=P, q=q, A=A, l=[1, 0, 0], u=[1, 0.7, 0.7])
    # The example of the OSQP documentation; its solution is exact.
    found = json.loads(run("solve", path, "--json").stdout)
    np.testing.assert_allclose(found["x"], [0.3, 0.7], atol=1e-7)
    assert found["objective"] == pytest.approx(1.88) and found["solved"]
    mat = tmp_path / "PROGRAM.mat"
    sparse = {"P": scipy.sparse.csc_matrix(P), "A": scipy.sparse.csc_matrix(A)}
    bounds = {"l": np.c_[[1.0, 0, 0]], "u": np.c_[[1, 0.7, 0.7]], "r": 2.0}
    scipy.io.savemat(mat, sparse | bounds | {"q": np.c_[q]})
    assert "objective    3.88" in run("solve", mat, "--out", out).stdout
    x, y = (np.load(out)[name] for name in "xy")
    np.testing.assert_allclose(x, [0.3, 0.7], atol=1e-7)
    np.testing.assert_allclose(P @ x + q + A.T @ y, 0, atol=1e-7)
    np.savez(path, P=P, q=q, A=A, l=[3, 0, 0], u=[3, 1, 1])
    assert "infeasible" in run("solve", path, code=3).stdout
    # Unbounded below: what has no value is null.
    np.savez(path, P=-np.eye(2), q=q, A=A[:1], l=[1], u=[1])
    refuse = lambda name: pytest.fail(f"{name} is no JSON")
    found = json.loads(
        run("solve", path, "--json", code=3).stdout, parse_constant=refuse
    )
    assert found["objective"] is None and found["x"] == [None, None]
    np.savez(path, P=P, q=q, A=A, l=[1, 2], u=[1, 2])
    assert "`lower` must have 3 entries" in run("solve", path, code=1).stderr
    np.savez(path, P=P)
    assert "no array 'q'; found 'P'" in run("solve", path, code=1).stderr
    np.savez(path, P=P, q=q, A=A)
    assert "'A' has no bounds" in run("solve", path, code=1).stderr
    mat.write_bytes(b"MATLAB 5.0, or not")
    assert "not a MATLAB file" in run("solve", mat, code=1).stderr


PUZZLE = """
# Four by four, with a frame.
1 . | . .
. . | 3 .
----+----
. . | . 2
. . | . .
"""


def test_solve_sudoku(tmp_path):
    path = tmp_path / "puzzle.txt"
    path.write_text(PUZZLE)
    solution = json.loads(run("solve", path, "--json").stdout)["solutions"][0]
    grid = np.array(list(solution), int).reshape(4, 4)
    blocks = grid.reshape(2, 2, 2, 2).swapaxes(1, 2).reshape(4, 4)
    for group in (*grid, *grid.T, *blocks):
        assert sorted(group) == [1, 2, 3, 4]
    assert (grid[0, 0], grid[1, 2], grid[2, 3]) == (1, 3, 2)
    path.write_text("\ufeff" + PUZZLE.replace(".", "*"))
    drawn = run("solve", path).stdout.splitlines()
    assert drawn[0].startswith("1 ") and drawn[2] == "----+----"
    path.write_text("11" + "." * 14 + "\n" + "." * 16 + "\n123....4" + "." * 8)
    result = run("solve", path, "--json", code=3)
    assert "2 of 3 puzzles were not solved" in result.stderr
    assert "puzzle 1: infeasible: row 1 has 2 clues 1" in result.stderr
    found = json.loads(result.stdout)
    assert found["infeasible"] == [1, 3] and found["solved"] == 1
    assert [s is None for s in found["solutions"]] == [True, False, True]


def test_why_a_sudoku_has_no_solution():
    read = lambda text: np.array(list(text), int).reshape(9, 9)
    # A known minimal puzzle of 17 clues, and the same with one clue changed.
    clues = "000000010400000000020000000000050407008000300001090000300400200050100000"
    solvable = read(clues + "000806000")
    assert why_infeasible(solvable) is None
    assert "row 9 has 2 clues 8" == why_infeasible(read(clues + "000806008"))
    # Its only solution has a 6 in the corner.
    solvable[0, 0] = 9
    assert why_infeasible(solvable) == "every way to fill it ends in a conflict"
    assert why_infeasible(solvable, cells=3) is None
    solvable[0, 0] = 6
    assert why_infeasible(solvable) is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("12z4\n", "line 1: 'z' is not part"),
        ("1234\n12\n", "line 2: 2 cells"),
        ("1..4\n....\n", "ends after 2 rows"),
        ("5" + "." * 15, "digit above 4"),
        ("." * 81 + "\n" + "." * 16, "line 2: a puzzle of another size"),
        ("# nothing\n", "no puzzle"),
    ],
)
def test_wrong_sudokus(tmp_path, text, message):
    path = tmp_path / "puzzle.txt"
    path.write_text(text)
    assert message in run("solve", path, code=1).stderr


def test_info():
    found = json.loads(run("info", "--json").stdout)
    assert found["packages"]["jax"] and found["devices"] and found["x64"] is False
    assert found["datasets"]["digits"] == "in scikit-learn"


def test_help_has_examples():
    for command in ("train", "compare", "solve"):
        assert f"  fixproj {command} " in run(command, "--help").stdout


def test_the_installed_command():
    args = [sys.executable, "-m", "fixproj.cli", "train", "--dataset", "gone.npz"]
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: There is no file 'gone.npz'.\n" and not done.stdout
