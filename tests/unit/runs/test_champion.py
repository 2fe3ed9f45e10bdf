"""The champion of a channel: the link moves in one step, and every change can be taken back."""

import os
from pathlib import Path

import pytest

from understudy.__main__ import main
from understudy.errors import AssetError, UnderstudyError
from understudy.runs import champion


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "tea"
    for run in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        (folder / run / "adapter").mkdir(parents=True)
    return folder


def name(models: Path) -> str | None:
    current = champion.current(models)
    return current.name if current else None


def test_without_a_promotion_there_is_no_champion(models: Path) -> None:
    assert champion.current(models) is None
    assert champion.current(models / "nowhere") is None


def test_the_one_promoted_last_is_the_champion_and_the_one_before_stays(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", ["first"])
    event = champion.promote(models, "bbbbbbbb", ["better"])
    assert champion.current(models) == models / "bbbbbbbb" and event.before == "aaaaaaaa"
    assert (models / "aaaaaaaa").is_dir()


def test_the_link_is_not_one_of_the_runs(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    assert [run.name for run in champion.runs(models)] == ["aaaaaaaa", "bbbbbbbb", "cccccccc"]


def test_repeated_rollbacks_go_further_back(models: Path) -> None:
    for run in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        champion.promote(models, run, [])
    assert [champion.rollback(models).run for _ in range(2)] == ["bbbbbbbb", "aaaaaaaa"]
    with pytest.raises(UnderstudyError, match="no champion before aaaaaaaa"):
        champion.rollback(models)
    assert name(models) == "aaaaaaaa"
    champion.promote(models, "cccccccc", [])
    assert champion.rollback(models).run == "aaaaaaaa", "what was rolled back from is not gone back to"


def test_a_refused_run_changes_nothing_but_the_history(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    champion.refuse(models, "bbbbbbbb", ["worse"])
    assert name(models) == "aaaaaaaa" and champion.considered(models) == "bbbbbbbb"
    with pytest.raises(UnderstudyError):
        champion.rollback(models)


def test_the_history_only_grows(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    before = (models / champion.HISTORY).read_bytes()
    champion.promote(models, "bbbbbbbb", [])
    champion.rollback(models)
    champion.rollback(models, to="cccccccc")
    assert (models / champion.HISTORY).read_bytes().startswith(before)
    actions = [event.action for event in champion.history(models)]
    assert actions == ["promoted", "promoted", "rolled back", "chosen"]


def test_a_line_cut_off_by_a_crash_is_left_out_and_then_replaced(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    file = models / champion.HISTORY
    file.write_bytes(file.read_bytes() + b'{"action": "promo')
    assert [event.run for event in champion.history(models)] == ["aaaaaaaa"]
    champion.promote(models, "bbbbbbbb", [])
    assert [event.run for event in champion.history(models)] == ["aaaaaaaa", "bbbbbbbb"]


def test_a_line_that_is_no_entry_is_told_with_its_number(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    file = models / champion.HISTORY
    file.write_bytes(file.read_bytes() + b"{}\n")
    with pytest.raises(AssetError, match="line 2 of"):
        champion.history(models)


def test_a_rollback_passes_over_runs_that_were_deleted(models: Path) -> None:
    for run in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        champion.promote(models, run, [])
    (models / "bbbbbbbb" / "adapter").rmdir()
    (models / "bbbbbbbb").rmdir()
    assert champion.rollback(models).run == "aaaaaaaa"


def test_a_champion_whose_folder_is_gone_is_none(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    (models / "aaaaaaaa").rename(models / "elsewhere")
    assert champion.current(models) is None


def test_the_link_holds_when_the_home_is_moved(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    assert os.readlink(models / champion.LINK) == "aaaaaaaa"
    moved = models.rename(models.with_name("moved"))
    assert champion.current(moved) == moved / "aaaaaaaa"


def test_a_folder_in_the_links_place_is_not_overwritten(models: Path) -> None:
    (models / champion.LINK).mkdir()
    with pytest.raises(AssetError, match="move it away"):
        champion.promote(models, "aaaaaaaa", [])
    assert champion.history(models) == []


def test_one_who_rolled_back_is_not_overruled_until_they_choose_again(models: Path) -> None:
    champion.promote(models, "aaaaaaaa", [])
    champion.promote(models, "bbbbbbbb", [])
    champion.rollback(models)
    assert champion.rolled_back(models, "bbbbbbbb") and not champion.rolled_back(models, "aaaaaaaa")
    champion.rollback(models, to="bbbbbbbb")
    assert champion.rolled_back(models, "bbbbbbbb") is None and name(models) == "bbbbbbbb"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no channel 'nowhere'"),
        (["../tea"], "is not a channel name"),
        (["tea"], "no champion before any"),
        (["tea", "--to", "dddddddd"], "no run 'dddddddd' of tea; there are: aaaaaaaa, bbbbbbbb, cccccccc"),
        (["tea", "--to", "champion"], "no run 'champion' of tea"),
    ],
)
def test_a_rollback_to_nothing_is_one_sentence(
    models: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(models.parents[1]), "rollback", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_the_command_says_what_is_used_from_now_on(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    champion.promote(models, "aaaaaaaa", [])
    champion.promote(models, "bbbbbbbb", [])
    assert main(["--home", str(models.parents[1]), "rollback", "tea"]) == 0
    assert capsys.readouterr().out == "tea uses aaaaaaaa from now on instead of bbbbbbbb\n"
