"""torch archives that are damaged, hostile or of another kind: a clear refusal, never a crash."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, SpectrakitError
from tests.checkpoints.archives import records, repacked, saved
from tests.support.legacy import legacy_tar

MODEL = {"w": torch.arange(64.0), "b": torch.ones(2)}
SOUND = saved(MODEL)


@pytest.fixture
def refused(tmp_path):
    """Opens the content and reads all of it, which must be refused; gives back the message."""

    def check(content: bytes, said: str):
        path = tmp_path / "model.bin"
        path.write_bytes(content)
        with pytest.raises(MalformedError, match=said) as caught, open_checkpoint(str(path)) as c:
            c.read(c.tensors)
        assert "model.bin" in caught.value.message
        assert caught.value.exit_code == 4
        return caught.value

    return check


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (bytes(100_000), "filled with zeros"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (saved(MODEL, _use_new_zipfile_serialization=False), "before PyTorch 1.6"),
        (legacy_tar(), "legacy tar"),
        (pickle.dumps({"w": 1}), "bare pickle"),
        (b"<html>not found</html>", "not a PyTorch archive"),
        (SOUND[:-1], "truncated"),
        (SOUND[: len(SOUND) // 2], "truncated"),
        (SOUND[:100], "truncated"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_kinds_of_files(refused, content, said):
    assert refused(content, said).hint


@pytest.mark.parametrize(
    "content",
    [saved(MODEL, _use_new_zipfile_serialization=False), pickle.dumps(MODEL)],
    ids=["before 1.6", "bare pickle"],
)
def test_the_line_that_saves_an_old_file_anew_works_as_printed(
    refused, content, tmp_path, monkeypatch
):
    line = refused(content, "not read here").hint.removesuffix(
        "; of a whole module its .state_dict()"
    )
    monkeypatch.chdir(tmp_path)
    exec(line.partition("is trusted: ")[2], {})
    with open_checkpoint("new.pt") as checkpoint:
        assert torch.equal(checkpoint.read(["w"])["w"], MODEL["w"])


def test_a_zip_bomb_is_refused_before_it_is_unpacked(refused):
    parts = records(SOUND) | {"data/0": bytes(50_000_000)}
    bomb = repacked(parts, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    refused(bomb, "compressed, which torch.save never does")


def test_a_compressed_pickle_is_refused(refused):
    refused(repacked(records(SOUND), compression=zipfile.ZIP_DEFLATED), "compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_twice(refused):
    buffer = io.BytesIO(repacked(records(SOUND)))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/data/0", bytes(256))
    refused(buffer.getvalue(), "two records named 'archive/data/0'")


def test_two_pickles(refused):
    refused(repacked(records(SOUND) | {"sub/data.pkl": b"N."}), r"2 records named data\.pkl")


def test_no_pickle(refused):
    parts = records(SOUND)
    del parts["data.pkl"]
    refused(repacked(parts), r"0 records named data\.pkl")


def test_a_missing_storage(refused):
    parts = records(SOUND)
    del parts["data/0"]
    refused(repacked(parts), "tensor 'w' refers to storage '0', which is not there")


def test_a_storage_that_is_too_short(refused):
    parts = records(SOUND) | {"data/0": bytes(255)}
    refused(repacked(parts), "tensor 'w' needs a storage of 256 bytes, '0' has 255")


def patched(content: bytes, signature: bytes, offset: int, value: bytes, nth: int = 0) -> bytes:
    """`content` with `value` written `offset` bytes after the n-th `signature`."""
    position = -1
    for _ in range(nth + 1):
        position = content.index(signature, position + 1)
    start = position + offset
    return content[:start] + value + content[start + len(value) :]


PLAIN = repacked(records(SOUND))  # data.pkl is record 0, without zip64 records
U32 = struct.Struct("<I").pack
U16 = struct.Struct("<H").pack


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (patched(PLAIN, b"PK\5\6", 16, U32(0)), "not where its end record says"),
        (patched(PLAIN, b"PK\5\6", 12, U32(2**31)), "not where its end record says"),
        (patched(PLAIN, b"PK\5\6", 8, U16(60000) * 2), "claims 60,000 records"),
        (patched(PLAIN, b"PK\5\6", 8, U16(3) * 2), "longer than its records"),
        (patched(PLAIN, b"PK\5\6", 4, U16(1)), "split archive"),
        (patched(PLAIN, b"PK\1\2", 0, b"PK\1\3"), "directory is damaged"),
        (patched(PLAIN, b"PK\1\2", 28, U16(60000)), "directory is damaged"),
        (patched(PLAIN, b"PK\1\2", 24, U32(10)), "two sizes"),
        (patched(PLAIN, b"PK\1\2", 20, U32(2**31) * 2), "overlaps what follows"),
        (patched(PLAIN, b"PK\1\2", 42, U32(2**31)), "overlaps what follows"),
        (patched(PLAIN, b"PK\1\2", 8, U16(1)), "encrypted"),
        (patched(PLAIN, b"PK\1\2", 46, b"\xff"), "a record named"),
        (patched(PLAIN, b"PK\3\4", 0, b"XX\3\4"), "not where the directory says"),
        (patched(PLAIN, b"PK\3\4", 8, U16(8)), "contradicts the directory"),
        (patched(PLAIN, b"PK\3\4", 30, b"x"), "contradicts the directory"),
        (patched(PLAIN, b"PK\3\4", 28, U16(65000)), "runs into the next one"),
        (patched(SOUND, b"PK\6\7", 8, struct.pack("<Q", 2**63)), "zip64 end record lies outside"),
        (patched(SOUND, b"PK\6\6", 0, b"XXXX"), "zip64 end record is damaged"),
        (patched(SOUND, b"PK\6\6", 48, struct.pack("<Q", 2**63)), "not where its end record says"),
    ],
)
def test_a_damaged_directory(refused, content, said):
    refused(content, said)


def test_a_storage_s_header_is_checked_when_it_is_read(refused):
    """Indexing does not read the headers of storages; reading does."""
    nth = next(i for i, name in enumerate(records(SOUND)) if name == "data/0")
    refused(patched(PLAIN, b"PK\3\4", 30, b"x", nth), "record 'archive/data/0' contradicts")


def test_zip64_values_are_read(tmp_path, monkeypatch):
    """As in archives beyond 4 GiB: sizes and offsets in the extra field, end record in zip64."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    content = repacked(records(SOUND))
    assert b"PK\6\6" in content
    (tmp_path / "model.bin").write_bytes(content)
    with open_checkpoint(str(tmp_path / "model.bin")) as checkpoint:
        read = checkpoint.read(checkpoint.tensors)
    assert all(torch.equal(read[name], MODEL[name]) for name in MODEL)


def test_a_zip_with_a_comment_is_read(tmp_path):
    buffer = io.BytesIO(PLAIN)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\5\6 as a comment" * 3
    (tmp_path / "model.bin").write_bytes(buffer.getvalue())
    with open_checkpoint(str(tmp_path / "model.bin")) as checkpoint:
        assert set(checkpoint.tensors) == set(MODEL)


@given(st.data())
def test_any_corruption_is_a_spectrakit_error_or_harmless(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from([SOUND, PLAIN])))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.mktemp("corrupt") / "model.bin"
    path.write_bytes(content)
    try:
        with open_checkpoint(str(path)) as checkpoint:
            checkpoint.read(checkpoint.tensors)
    except SpectrakitError:
        pass
