"""An estimate prices what the next run would ask for, and nothing else."""

from pathlib import Path

from understudy.calls import Reply, Usage
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.channel.ledger import Row
from understudy.config import load
from understudy.sections import QuestionSettings
from understudy.sources.documents import DocumentsSource
from understudy.stages.estimate import estimate, others, usual_of
from understudy.stages.estimate_page import draft, estimate_page, talks_of
from understudy.stages.extract_questions import further, requests
from understudy.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "deployments" / "sample_channel"


def workspace(home: Path, **teacher: object) -> Workspace:
    changes = {"name": "tea", "teacher": {"use": "openai", "model": "gpt-5-mini"} | teacher}
    return Workspace(home=home, config=load(ROOT / "deployments/presets/documents.yaml", changes))


def test_it_needs_no_key_and_writes_nothing(tmp_path: Path) -> None:
    page = estimate_page(workspace(tmp_path, api_key_env="NO_SUCH_KEY"))
    assert "26 talks here, 26 of them to be read" in page
    assert "batch" in page and "flex" in page
    assert not list(tmp_path.iterdir())


def test_a_forgotten_talk_is_not_priced(tmp_path: Path) -> None:
    result = workspace(tmp_path)
    entry = next(DocumentsSource(DocumentsSource.Options(path=SAMPLE)).entries())
    result.ledger.record(Row(entry.document_id, entry.title, entry.locator, entry.revision, "excluded"))
    assert "25 talks here, 25 of them to be read" in estimate_page(result)


def test_the_bill_counts_every_model_that_is_asked(tmp_path: Path) -> None:
    plain = workspace(tmp_path)
    asked = {"use": "openai", "model": "gpt-5-mini"}
    more = {"verify": asked, "augment": {"paraphrases": 2}, "evaluate.judge": asked}
    changes = {"name": "tea", "teacher": asked} | more
    whole = Workspace(home=tmp_path, config=load(ROOT / "deployments/presets/documents.yaml", changes))
    page = estimate_page(whole)
    for stage in ("| verify |", "| variants |", "| judge |"):
        assert stage in page and stage not in estimate_page(plain)
    rows = {row.kind: row for row in others(whole, talks_of(whole)[0])}
    assert rows["verify"].talks == 26 and rows["judge"].talks == 2 * whole.config.evaluate.questions
    assert all(0 < row.low_usd < row.high_usd for row in rows.values())


def test_a_number_of_pairs_that_is_aimed_at_is_priced(tmp_path: Path) -> None:
    plain = workspace(tmp_path)
    more = Workspace(
        home=tmp_path, config=plain.config.model_copy(update={"questions": QuestionSettings(target_pairs=600)})
    )
    priced = [estimate(w.config.plugin("teacher"), talks_of(w)[0], w.config.questions) for w in (plain, more)]
    few, many = ({row.kind: row for row in rows} for rows in priced)
    assert many["questions"].talks == 2 * few["questions"].talks == 52
    assert many["answers"].output > 2 * few["answers"].output


def test_further_questions_go_where_there_is_room() -> None:
    rooms = {"long": 40, "short": 10, "full": 0}
    assert further(100, 100, 120, rooms) == {} == further(100, 10, 20, {"full": 0})
    shares = further(70, 50, 100, rooms)
    assert shares == {"long": 32, "short": 8}, "half of those asked so far were accepted"
    assert further(1000, 50, 100, rooms) == {"long": 40, "short": 10}


def test_the_free_teachers_run_ends_with_what_it_found_and_what_a_model_would_cost(tmp_path: Path) -> None:
    assert draft(workspace(tmp_path)) == "", "a teacher that is a model needs no such word"
    preset = ROOT / "deployments/presets/documents.yaml"
    free = Workspace(home=tmp_path, config=load(preset, {"name": "tea", "teacher": "extractive"}))
    assert "found 0 questions in 0 talks" in draft(free)


def test_what_replies_came_to_so_far_is_expected_of_the_next(tmp_path: Path) -> None:
    result = workspace(tmp_path)
    teacher, talks = result.config.plugin("teacher"), talks_of(result)[0]
    blind = {row.kind: row for row in estimate(teacher, talks, result.config.questions)}
    ledger = CallLedger(result.folder / CALLS)
    for talk in talks[:3]:
        for request in requests(talk.document, teacher, result.config.questions):
            assert usual_of(result.folder, teacher).tokens == {}  # two replies tell nothing
            call = teacher.call(request)
            reply = Reply("short", "stop", None, Usage(call.input_tokens, 0, 0, 10 * request.count))
            ledger.keep(call, ledger.intend(call, 0.0), reply, 0.0)
            ledger.judged(call, 0, request.count // 2, request.count)
    ledger.close()
    usual = usual_of(result.folder, teacher)
    known = {row.kind: row for row in estimate(teacher, talks, result.config.questions, usual=usual)}
    assert usual.tokens["questions"] == 10 and 0.4 < usual.questions <= 0.5
    assert known["questions"].output < blind["questions"].output / 3
    assert 0.4 < known["answers"].output / blind["answers"].output < 0.6  # half as many to answer
    assert known["questions"].high_usd / known["questions"].low_usd < 1.6


def test_a_model_that_would_be_asked_nothing_costs_nothing(tmp_path: Path) -> None:
    asked = {"use": "openai", "model": "gpt-5-mini"}
    changes = {"name": "tea", "teacher": asked, "verify": asked | {"fraction": 0.01}}
    whole = Workspace(home=tmp_path, config=load(ROOT / "deployments/presets/documents.yaml", changes))
    (row,) = others(whole, talks_of(whole).talks)
    assert (row.kind, row.talks, row.fresh, row.output, row.high_usd) == ("verify", 0, 0, 0, 0)
