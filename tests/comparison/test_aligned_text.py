"""Two tokenizers on one text: only tokens that end at the same character are compared."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.comparison.aligned_text import aligned_passages


def letters(text):
    return [ord(letter) for letter in text], list(range(1, len(text) + 1))


def utf8(text):
    return text.encode(), [at for at, letter in enumerate(text, 1) for _ in letter.encode()]


def words(text):
    ids, ends, begin = [], [], 0
    for end in [at for at, letter in enumerate(text) if at and letter == " "] + [len(text)]:
        ids.append(hash(text[begin:end]) % 1000)
        ends.append(end)
        begin = end
    return ids, ends


TEXTS = st.text("ab é€ ", min_size=1, max_size=80)


def test_a_word_is_compared_at_its_last_letter():
    (passage,) = aligned_passages("to be or", (letters, words), 100)
    assert passage.shared[0].tolist() == [1, 4, 7]
    assert passage.shared[1].tolist() == [0, 1, 2]


def test_a_character_of_several_tokens_is_compared_at_the_last_of_them():
    (passage,) = aligned_passages("é€", (utf8, letters), 100)
    assert passage.shared[0].tolist() == [1, 4]
    assert passage.shared[1].tolist() == [0, 1]


@given(TEXTS, st.integers(4, 20))
def test_passages_cover_the_text_and_agree_on_it(text, tokens):
    read = ""
    for passage in aligned_passages(text, (utf8, letters), tokens):
        assert max(len(ids) for ids in passage.ids) <= tokens
        first, second = (bytes(passage.ids[0].astype(np.uint8)), passage.ids[1])
        for one, other in zip(*passage.shared, strict=True):
            expected = "".join(map(chr, second[: other + 1]))
            assert first[: one + 1].decode() == expected
        read += "".join(map(chr, second))
    assert read == text


def test_texts_that_never_meet_give_nothing():
    def crossing(text):
        return [0], [len(text) + 1]

    assert list(aligned_passages("abc", (letters, crossing), 10)) == []
