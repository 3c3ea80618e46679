"""Multi-document question answering: one of the passages answers the question.

    Write a high-quality answer for the given question using only the provided search results (some
    of which might be irrelevant).

    Document [1](Title: ...) ...
    Document [2](Title: ...) ...

    Question: ...
    Answer:

The format of Liu et al. 2024 (lost-in-the-middle, arXiv 2307.03172), and of its files: a question,
its answers and its passages (`ctxs`), one of them gold. Passages of the file's own are taken where
a record has more than the gold one (hard distractors: the paper's retriever found them). Where
records have that alone, the gold passages of other questions stand beside it, such as hold none of
the answers; each passage is in the prompts of one source only: no probe has seen it before.
"""

from __future__ import annotations

import random
import re
import string
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from spectrakit.errors import UsageError
from spectrakit.prompt_sets.base import Prompt, gold_positions, moved
from spectrakit.prompt_sets.files import field, malformed, read_records
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.analyses.probe.options import ProbeOptions

_DOCUMENTS = 10
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Passage:
    """A title and a text."""

    title: str
    text: str

    @cached_property
    def normalised(self) -> str:
        """Both, as answers are compared with them."""
        return normalised(f"{self.title} {self.text}")


@dataclass(frozen=True)
class Question:
    """A question, what answers it, and the passage that says so. others: passages that do not."""

    text: str
    answers: tuple[str, ...]
    gold: Passage
    others: tuple[Passage, ...] = ()


#: A question, the passages beside the gold one, and what answers these give to their questions.
Source: TypeAlias = tuple[Question, tuple[Passage, ...], tuple[str, ...]]


class MultiDocumentQA:
    """The `multi-doc-qa` prompt set. Target: `gold_position`."""

    name: ClassVar[str] = "multi-doc-qa"

    def __init__(self, options: ProbeOptions, seed: int) -> None:
        self._options = options
        self._seed = seed

    def prompts(self) -> Sequence[Prompt]:
        """See `PromptSet.prompts`; UsageError where there is no file of questions, too."""
        options = self._options
        if options.prompt_file is None:
            message = "multi-doc-qa needs questions with passages"
            raise UsageError(message, hint=given(prompt_file="nq-open-oracle.jsonl.gz"))
        questions = _questions(options.prompt_file)
        draw = random.Random(self._seed)  # noqa: S311  (no secret)
        draw.shuffle(questions)
        fewest = 1 + min(len(question.others) for question in questions)
        if fewest > 1:
            items = _items(options, options.prompt_file, fewest)
            sources = _with_own(questions, items)
        else:
            items = options.pairs or _DOCUMENTS
            sources = _with_drawn(questions, items)
        return [
            prompt
            for source in islice(sources, options.sources(items))
            for prompt in _prompts(*source, options.positions)
        ]


def _items(options: ProbeOptions, path: Path, fewest: int) -> int:
    if options.pairs is not None and options.pairs > fewest:
        message = f"{path.name} has a question with {fewest} passages, not {options.pairs}"
        raise UsageError(message, hint=given(pairs=fewest))
    return options.pairs or fewest


def _with_own(questions: Sequence[Question], items: int) -> Iterator[Source]:
    """Questions with the first of their own passages, of which no answers are known."""
    for question in questions:
        yield question, question.others[: items - 1], ()


def _with_drawn(questions: Sequence[Question], items: int) -> Iterator[Source]:
    """Questions with gold passages of others and their answers; no passage appears twice."""
    left = deque({question.gold: question for question in questions}.values())
    while len(left) >= items:
        question = left.popleft()
        beside: list[Question] = []
        passed: list[Question] = []
        while left and len(beside) < items - 1:
            other = left.popleft()
            (passed if _says(other.gold, question.answers) else beside).append(other)
        left.extendleft(reversed(passed))
        if len(beside) == items - 1:
            yield question, tuple(b.gold for b in beside), tuple(b.answers[0] for b in beside)
        else:
            left.extend(beside)


def _says(passage: Passage, answers: Sequence[str]) -> bool:
    return any(normalised(answer) in passage.normalised for answer in answers)


def normalised(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: as SQuAD compares answers."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _prompts(
    question: Question,
    others: Sequence[Passage],
    answers: Sequence[str],
    positions: int,
) -> Iterator[Prompt]:
    passages = [f"(Title: {each.title}) {each.text}" for each in (question.gold, *others)]
    same = {normalised(answer) for answer in question.answers}
    for position in gold_positions(len(passages), positions):
        ordered = enumerate(moved(passages, position), 1)
        documents = "\n".join(f"Document [{number}]{passage}" for number, passage in ordered)
        yield Prompt(
            text=(
                "Write a high-quality answer for the given question using only the provided search "
                f"results (some of which might be irrelevant).\n\n{documents}\n\n"
                f"Question: {question.text}\nAnswer:"
            ),
            source=question.text,
            items=len(passages),
            position=position,
            labels={"gold_position": str(position)},
            answer=_answer(question.answers[0]),
            others=tuple(_answer(each) for each in answers if normalised(each) not in same),
        )


def _answer(answer: str) -> str:
    return f" {' '.join(answer.split())}\n"


def _questions(path: Path) -> list[Question]:
    return [_question(path, number, record) for number, record in enumerate(read_records(path), 1)]


def _question(path: Path, number: int, record: Mapping[str, Any]) -> Question:
    answers = field(path, number, record, "answers", list)
    if not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise malformed(path, number, f"its 'answers' are {str(answers)[:40]!r}")
    gold: list[Passage] = []
    others: list[Passage] = []
    for passage in field(path, number, record, "ctxs", list):
        if not isinstance(passage, dict):
            raise malformed(path, number, f"a passage is {str(passage)[:40]!r}")
        texts = [field(path, number, passage, key, str) for key in ("title", "text")]
        (gold if passage.get("isgold") else others).append(Passage(*texts))
    if len(gold) != 1:
        raise malformed(path, number, f"{len(gold)} of its passages are gold ('isgold')")
    text = field(path, number, record, "question", str)
    return Question(text, tuple(answers), gold[0], tuple(others))
