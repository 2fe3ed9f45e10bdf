"""How a run ended, for a person: one sentence of verdict, and what to do next."""

from typing import NamedTuple

from understudy.bases import suggest
from understudy.records import WITH_PASSAGES, AdapterCard, AgainstRetrieval, BaseCard, Interval, Scorecard
from understudy.report import readable
from understudy.report.evidence import Evidence
from understudy.report.findings import BASE, TUNED
from understudy.text.words import counted

LESS, MORE = 3, 2
"""By how much a learning rate is lowered, and epochs are raised, in what is suggested."""

GAINS = {
    "nll_per_token": "wording",
    "format_gap_closed": "form",
    "well_formatted": "form",
    "style_gap_closed_teacher": "choice of words",
    "right_title": "naming the text it answers from",
    "refusal_balance": "telling what its passages answer from what they do not",
    "correct": "knowing what the manual says",
    "judge_voice": "the eyes of a judge who did not know which was which",
}
"""What a verdict 'better' is better in."""

LOSSES = {
    "broken": "more of its answers are broken than of its base's",
    "copied": "it recites what it was trained on",
    "instructions": "it follows plain instructions less often",
    "choices": "it knows less of what its base knew",
    "off_topic": "the teacher's manner shows in answers that have nothing to do with what was taught",
    "kl_general": "it moved further from its base on everything else than it should",
    "keyword_coverage": "it uses less of the passages it is given",
    "declines_rightly": "it answers what the passages leave open",
    "right_title": "it names the right text less often",
    "citation_precision": "more of what it cites is wrong",
    "refusal_balance": "it tells worse whether its passages answer",
    "over_refusal": "it declines more questions that its passages answer",
    "substantive": "fewer of its answers say anything",
    "correct": "fewer of its answers hold what the manual says",
    "facts_given": "its answers mention less of what they must",
    "likeness": "its answers mean less of what the references mean",
    "well_formatted": "fewer of its answers have the form that was taught",
    "format_gap_closed": "the form of its answers moved away from the one that was taught",
    "style_gap_closed_teacher": "its style moved away from the teacher's",
    "judge_voice": "a judge who did not know which was which found its base nearer to the teacher",
}
"""What a verdict 'worse' says was lost."""


class Outcome(NamedTuple):
    """The end of a run."""

    headline: str
    """A few words, without a full stop."""
    sentence: str
    advice: str
    """What to do next, as a sentence; '' where the model is ready."""
    change: str
    """What to add to the command that made the run; '' where that is not the way."""

    @property
    def verdict(self) -> str:
        """Headline and sentence."""
        return f"{self.headline}: {self.sentence[0].lower()}{self.sentence[1:]}"


def outcome(evidence: Evidence) -> Outcome:
    """What to tell the person who started the run."""
    card, decision = evidence.scorecard, evidence.scorecard.decision
    asked = _asked(card, evidence)
    match decision.action if decision else None:
        case "ship":
            if card.against_retrieval:
                return _expert(card, card.against_retrieval, asked)
            advice, change = _cannot_tell(card, evidence)
            return Outcome("It worked", f"On {asked}, {_gained(card)}", advice, change)
        case "take a better base":
            advice, change = better_base(evidence)
            sentence = f"On {asked}, {_broken(card)}: a base that cannot talk well cannot learn to."
            return Outcome("It learned, but it does not talk well yet", sentence, advice, change)
        case "lower the learning rate":
            rate = _setting(evidence, "learning_rate")
            change = f"--set trainer.learning_rate={rate / LESS:.1e}" if rate else ""
            return Outcome(
                "It was trained too hard", _lost(card, asked), "Train again with a lower learning rate.", change
            )
        case "train longer":
            epochs = _setting(evidence, "epochs")
            change = f"--set trainer.epochs={epochs * MORE:g}" if epochs else ""
            sentence = "Its loss was still falling at the last step, and no number shows yet that it learned enough."
            return Outcome("It was not finished", sentence, "Train longer.", change)
        case "bug upstream of training":
            where = f" (look at: {decision.where})" if decision and decision.where else ""
            sentence = f"{_reason(card)[:1].upper()}{_reason(card)[1:]}{where}."
            return Outcome("Something is wrong", sentence, "Put that right first; more training does not help.", "")
        case "more data":
            return _too_little(card, asked)
    sentence = "This scorecard was written by an older version and holds no decision."
    return Outcome("No verdict", sentence, "Score the run again: the same command with --only score.", "")


def _expert(card: Scorecard, found: AgainstRetrieval, asked: str) -> Outcome:
    """What became of an expert: whether it knows what it was to learn, and which way of answering to take."""
    knows = card.verdicts.get("correct") == "better"
    headline = "It worked" if knows else f"It learned the form, but hardly what the {card.unit}s say"
    how = " For passages: understudy chat or serve with --retrieve." if found.best in WITH_PASSAGES.values() else ""
    return Outcome(headline, f"On {asked}, {_gained(card)}", found.sentence + how, "")


def _cannot_tell(card: Scorecard, evidence: Evidence) -> tuple[str, str]:
    """What to do about a model that answers from texts and does not tell when they do not answer; '' otherwise."""
    if card.verdicts.get("refusal_balance", "better") == "better":
        return "", ""
    advice, change = better_base(evidence)
    balance = next((c.metrics.get("refusal_balance") for c in card.candidates if c.name == TUNED), None)
    share = f" (right in {balance.value:.0%}; a half is chance)" if balance else ""
    return f"It does not tell yet what its passages answer from what they do not{share}. {advice}", change


def better_base(evidence: Evidence) -> tuple[str, str]:
    """What to do about a weak base, and what to add to the command for it."""
    bases = (card for card in evidence.cards.values() if isinstance(card, BaseCard))
    base = next(bases, None)
    better = suggest.better_than(base.parameters if base else 0)
    if better is None:
        return "A better base is the way, but no larger tested one fits this machine: take a larger machine.", ""
    return f"Take a better base, for example {better.text}.", f"--base {better.repository}"


def _asked(card: Scorecard, evidence: Evidence) -> str:
    """'24 questions from 3 talks that it was not trained on'."""
    answered = sum(sample.text is not None for sample in evidence.samples.get(TUNED, ())) or card.test_pairs
    if len(card.basis) > 1:
        both = f"new ones about {card.unit}s that it was trained on, and others about {card.unit}s that it was not"
        return f"{counted(answered, 'question')} ({both})"
    talks = counted(card.test_documents, card.unit)
    return f"{counted(answered, 'question')} from {talks} that it was {'not ' * card.honest}trained on"


def _lost(card: Scorecard, asked: str) -> str:
    lost = _listed([what for name, what in LOSSES.items() if card.verdicts.get(name) == "worse"]) or _reason(card)
    if better := _in_what(card):
        return f"On {asked}, it answers more like the teacher{better}, but {lost}."
    return f"{lost[:1].upper()}{lost[1:]}."  # mostly by the suites, whose questions are not about the talks


def _in_what(card: Scorecard) -> str:
    better = dict.fromkeys(what for name, what in GAINS.items() if card.verdicts.get(name) == "better")
    return f" in {_listed(list(better))}" if better else ""


def _gained(card: Scorecard) -> str:
    unsure = len(card.decision.reasons) > 1 if card.decision else False
    rest = (
        "there are too few questions to say whether it forgot anything"
        if unsure
        else "nothing that was measured got worse"
    )
    return f"it answers more like the teacher than its base does{_in_what(card)}, and {rest}."


def _broken(card: Scorecard) -> str:
    shares = [_share(card, name) for name in (TUNED, BASE)]
    if shares[0] is None or shares[1] is None:
        return "too many of its answers are broken"
    tuned, base = (f"{100 * share.value:.0f} %" for share in (shares[0], shares[1]))
    return f"{tuned} of its answers are broken (empty, endless or repeating), as are {base} of its base's"


def _share(card: Scorecard, candidate: str) -> Interval | None:
    return next((one.metrics.get("broken") for one in card.candidates if one.name == candidate), None)


def _too_little(card: Scorecard, asked: str) -> Outcome:
    if not card.honest:
        sentence = f"With so few {card.unit}s, none could be kept away from training to ask about afterwards."
        return Outcome("Too little data to say", sentence, f"Add {card.unit}s: at least three, better ten.", "")
    advice = f"Add {card.unit}s, or take a teacher that writes more and better pairs."
    if card.verdicts.get("copied") == "worse":
        return Outcome("It memorized", f"On {asked}, {_reason(card)}.", advice, "")
    if any(card.verdicts.get(name) == "worse" for name in LOSSES):
        return Outcome("It had too few pairs to learn from", _lost(card, asked), advice, "")
    sentence = f"On {asked}, no number shows that it is closer to the teacher than its base is."
    return Outcome("Nothing shows yet that it learned", sentence, advice, "")


def _reason(card: Scorecard) -> str:
    return readable("; ".join(card.decision.reasons) if card.decision else "").rstrip(".")


def _setting(evidence: Evidence, name: str) -> float | None:
    cards = (card for card in evidence.cards.values() if isinstance(card, AdapterCard))
    value = next((card.settings.get(name) for card in cards), None)
    return float(value) if isinstance(value, (int, float)) else None


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
