"""Prompts through a model: states at their ends, and which answer the model would write."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import spectrakit as sk
from spectrakit.analyses.probe.options import ProbeOptions
from spectrakit.errors import UsageError
from spectrakit.progress import Silent
from spectrakit.prompt_sets import Prompt
from spectrakit.prompt_sets.kv_retrieval import KeyValueRetrieval
from spectrakit.prompts import PromptRunner, branchings


def prompt(text, answer="!", others=()):
    return Prompt(text, "source", 2, 0, {}, answer, others)


def runner(name, batch_size=3):
    with sk.open_checkpoint(name) as model:
        return PromptRunner(model.load(), lambda text: text.encode(), batch_size, Silent())


@pytest.fixture(scope="module")
def llama():
    return runner("tiny-llama")


TEXTS = ["To be", "or not to be, that is the question: whether", "a", "'tis nobler in the mind"]


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-mamba2", "tiny-llama"])
def test_states_are_those_of_each_prompt_alone(name):
    running = runner(name)
    found = {}
    for indices, states in running.last_states([prompt(text) for text in TEXTS]):
        for row, index in enumerate(indices):
            found[index] = [at[row] for at in states]
    assert sorted(found) == [0, 1, 2, 3]
    for index, text in enumerate(TEXTS):
        alone = []
        ids = torch.tensor([list(text.encode())])
        running.model.run(ids, on_states=lambda _, h, alone=alone: alone.append(h[0, -1].clone()))
        assert len(alone) == len(found[index]) == 4
        for one, other in zip(found[index], alone, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def written(model, begin, candidates):
    """Greedy decoding that may write a candidate and nothing else, one token after the other."""
    done = []
    while len(left := [c for c in candidates if c[: len(done)] == done]) > 1:
        allowed = sorted({c[len(done)] for c in left})
        ids = torch.tensor([begin + done])
        scores = model.logits(ids, torch.tensor([[ids.shape[1] - 1]]))[0, 0]
        done.append(max(allowed, key=lambda token: float(scores[token])))
    return left[0]


def test_choices_are_those_of_greedy_decoding(llama):
    words = [" thou|", " thee|", " then|", " they|", " the|", " king|", " knight|"]
    asked = [
        prompt(text, answer, tuple(word for word in words if word != answer))
        for text in TEXTS
        for answer in words
    ]
    expected = [
        written(llama.model, list(one.text.encode()), [list(w.encode()) for w in words])
        == list(one.answer.encode())
        for one in asked
    ]
    assert llama.choices(asked) == expected
    assert sum(expected) == len(TEXTS)


def test_what_has_no_candidates_is_no_choice(llama):
    asked = [prompt("a"), prompt("b", "x", ("y",)), prompt("c")]
    assert [choice is None for choice in llama.choices(asked)] == [True, False, True]
    assert llama.choices([prompt("a")]) == [None]
    assert llama.choices([prompt("a", "x", ("x",))]) == [None]


class Headless:
    """A model that says nothing of what comes next."""

    vocabulary_size = 256

    def run(self, tokens, on_layer=None, valid=None, on_states=None):
        on_states(0, torch.zeros(*tokens.shape, 4))


class Tied(Headless):
    """A model to which all tokens are alike."""

    def logits(self, tokens, places):
        return torch.zeros(*places.shape, 256)


class HeadLost(Headless):
    def logits(self, tokens, places):
        return None


def test_a_model_without_a_head_makes_no_choices():
    asked = [prompt("a", "x", ("y",))]
    for model, expected in ((Headless(), None), (HeadLost(), None), (Tied(), [False])):
        assert PromptRunner(model, str.encode, 2, Silent()).choices(asked) == expected


def test_a_prompt_longer_than_the_model_can_take(llama):
    asked = KeyValueRetrieval(ProbeOptions(pairs=5, prompts=10), 0)
    with pytest.raises(
        UsageError, match=r"a prompt and its answer have \d+ tokens, .* 512 at m"
    ) as caught:
        next(llama.last_states(asked.prompts()))
    assert caught.value.hint == "shorter prompts"


def test_a_tokenizer_of_another_model(llama):
    other = PromptRunner(llama.model, lambda text: [700], 2, Silent())
    with pytest.raises(UsageError, match="token id 700 is outside the model's vocabulary of 256"):
        next(other.last_states([prompt("a")]))


def test_a_tokenizer_that_makes_nothing(llama):
    silent = PromptRunner(llama.model, lambda text: [], 2, Silent())
    with pytest.raises(UsageError, match="the tokenizer makes no tokens of 'abc'"):
        next(silent.last_states([prompt("abc")]))


def test_the_answer_must_fit_too(llama):
    for length, fits in ((500, True), (501, False)):
        asked = [prompt("a" * length, "x" * 12, ("y",))]
        if fits:
            assert llama.choices(asked) != [None]
            next(llama.last_states(asked))
            continue
        with pytest.raises(UsageError, match="513 tokens"):
            next(llama.last_states(asked))


def test_branchings_by_hand():
    answer, others = [1, 2, 3], [[1, 5], [1, 2, 7], [4, 2, 9], [1, 2], [1, 2, 3], [6]]
    assert branchings(answer, others) == {0: {4, 6}, 1: {5}, 2: {7}}
    assert branchings([1], []) == {}


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=2, unique_by=tuple),
    st.lists(st.permutations([0, 1, 2]), min_size=40, max_size=40),
)
def test_branchings_tell_the_end_of_greedy_decoding(candidates, preferences):
    """A model that prefers tokens by what was written so far writes one of the candidates."""

    def preferred(done):
        return preferences[sum(3**place * (token + 1) for place, token in enumerate(done))]

    done = []
    while len(left := [c for c in candidates if c[: len(done)] == done]) > 1:
        allowed = {c[len(done)] for c in left}
        done.append(next(token for token in preferred(done) if token in allowed))
    for answer in candidates:
        wins = all(
            preferred(answer[:step]).index(answer[step])
            < min(preferred(answer[:step]).index(wrong) for wrong in rivals)
            for step, rivals in branchings(answer, [c for c in candidates if c != answer]).items()
        )
        assert wins == (answer == left[0])
