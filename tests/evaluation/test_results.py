"""`scripts/results.py`: comparisons that are run once, and the page that is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from priorfit.checkpoints import CheckpointError
from scripts import results
from scripts.results import PARTS, Part, page, run

COMMAND = "tests.evaluation.echo --output {output}"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run; each writes a table to the file that it is given."""
    made: list[list[str]] = []

    def pretend(command: list[str]) -> None:
        made.append(command)
        Path(command[-1]).parent.mkdir(parents=True, exist_ok=True)
        Path(command[-1]).write_text(f"# Title\n\n## Table\n\n{len(made)}\n")

    monkeypatch.setattr(results, "execute", pretend)
    return made


def test_a_part_is_run_once_for_one_command_and_one_set_of_weights(tmp_path: Path, calls: list[list[str]]) -> None:
    part = Part("Title", COMMAND, ("quickstart",))
    for _ in range(2):
        run("own", part, {}, tmp_path, again=False)
    assert len(calls) == 1
    run("own", part, {}, tmp_path, again=True)
    assert len(calls) == 2
    document = tmp_path / "own.json"
    facts = json.loads(document.read_text())
    facts["asked"]["weights"]["quickstart"] = "others"
    document.write_text(json.dumps(facts))
    run("own", part, {}, tmp_path, again=False)
    assert len(calls) == 3


def test_a_result_without_its_table_is_made_again(tmp_path: Path, calls: list[list[str]]) -> None:
    part = Part("Title", COMMAND, ("quickstart",))
    run("own", part, {}, tmp_path, again=False)
    (tmp_path / "own.md").unlink()
    run("own", part, {}, tmp_path, again=False)
    assert len(calls) == 2


def test_the_page_shows_what_was_run(tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PARTS", {"own": Part("Own", COMMAND, ("quickstart",)), "other": PARTS["jump"]})
    assert "## Own" not in page(tmp_path)
    run("own", results.PARTS["own"], {}, tmp_path, again=False)
    written = page(tmp_path)
    assert "python -m tests.evaluation.echo --output FILE   # 0 minutes on " in written
    assert "### Title" in written
    assert "#### Table\n\n1" in written
    assert PARTS["jump"].title not in written


def test_parts_that_need_data_are_left_out_without_them(
    tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--folder", str(tmp_path), "--output", str(tmp_path / "R.md")]
    monkeypatch.setattr("sys.argv", ["results.py", "--only", "tables", "real-curves", *places])
    results.main()
    assert not calls
    assert "tables: left out without --tables" in capsys.readouterr().out


def test_unknown_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        run("own", Part("Own", COMMAND, ("nowhere",)), {}, tmp_path, again=False)


@pytest.mark.parametrize("name", PARTS)
def test_every_command_is_a_script(name: str) -> None:
    module = PARTS[name].command.split()[0]
    assert (results.ROOT / (module.replace(".", "/") + ".py")).exists()
