from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aezip.errors import ModelError
from aezip.storage.hdf5 import (
    DECODER_FORMAT,
    MODEL_FORMAT,
    VERSION,
    content_id,
    read_decoder,
    read_format,
    read_model,
    read_profile,
    read_profiles,
    write_decoder,
    write_model,
)
from aezip.storage.limits import MAX_HDF5_BYTES

HEADER = {
    "arch": "pyramid",
    "config": {"levels": 5, "quality": 50, "scale": 0.125, "none": None, "yes": True},
    "defaults": {"size": "64x48", "mode": "RGB", "quality": "q50"},
    "name": "Grüße 写真",
}
TENSORS = {
    "analysis.w": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "synthesis/deep/w": np.array([[1.5, -0.0], [np.inf, np.nan]]),
    "half": np.array([0.1, 65504], np.float16),
    "scalar": np.array(3.25),
    "none": np.zeros((0, 5), np.float32),
    "bytes": np.arange(256, dtype=np.uint8),
    "whole": np.array([-(2**63), 2**63 - 1]),
    "flags": np.array([True, False]),
    "other order of bytes": np.arange(5, dtype=">f4"),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.h5"


def refused(read, path: Path | str) -> str:
    """What is said of a file that must be refused, in one line that begins with its name."""
    with pytest.raises(ModelError) as caught:
        read(path)
    message = str(caught.value)
    assert message.splitlines() == [message] and message.startswith(str(path))
    return message.removeprefix(str(path)).lstrip()


# --- what is written is read ---


def test_a_model_round_trips(path):
    write_model(path, HEADER, TENSORS)
    assert read_format(path) == MODEL_FORMAT
    header, tensors = read_model(path)
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype.newbyteorder("="), name
        np.testing.assert_array_equal(tensor, TENSORS[name].astype(tensor.dtype), strict=True)
        tensor[...] = 0  # new arrays, to be written to
    assert os.listdir(path.parent) == ["file.h5"]


def test_a_model_without_tensors(path):
    write_model(path, {}, {})
    assert read_model(path) == ({}, {})


@pytest.mark.parametrize("size", [0, 1, 59_998, 60_000, 60_001, 66_000, 1 << 20])
def test_long_headers(path, size):
    # HDF5 keeps attributes of up to 64 KB; what is longer becomes a data set.
    header = {"history": "x" * max(0, size - len('{"history":""}'))}
    write_model(path, header, {})
    assert read_model(path)[0] == header
    write_decoder(path, header, bytes(range(7)))
    assert read_decoder(path)[:2] == (header, bytes(range(7)))


@pytest.mark.parametrize(
    "tensor", [np.array(["text"]), np.array([None]), np.array([1j]), np.array(["2024"], "M8[Y]")]
)
def test_tensors_are_plain_numbers(path, tensor):
    with pytest.raises(TypeError, match="not a plain number"):
        write_model(path, {}, {"a": tensor})
    assert not path.exists()


@pytest.mark.parametrize("header", [{"a": np.nan}, {"a": np.inf}])
def test_headers_hold_no_nan(path, header):
    with pytest.raises(ValueError, match="JSON"):
        write_decoder(path, header, b"")
    with pytest.raises(ValueError, match="JSON"):
        write_model(path, header, {})
    assert not path.exists()


@pytest.mark.parametrize(
    "parameters",
    [b"", b"\0", b"text\0\0", bytes(range(256)), b"x" * 60_000, b"x" * 60_001, b"\0" * 200_000],
    ids=len,
)
def test_a_decoder_round_trips(path, parameters):
    identity = write_decoder(path, HEADER, parameters)
    assert read_format(path) == DECODER_FORMAT
    assert read_decoder(path) == (HEADER, parameters, identity)
    assert identity == content_id(HEADER, parameters)
    assert os.listdir(path.parent) == ["file.h5"]


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ).filter(lambda value: "Infinity" not in json.dumps(value)),
        max_size=3,
    ),
    st.binary(),
)
@settings(max_examples=50)
def test_any_decoder_round_trips(tmp_path_factory, header, parameters):
    path = tmp_path_factory.getbasetemp() / "any.h5"
    identity = write_decoder(path, header, parameters)
    assert read_decoder(path) == (header, parameters, identity)


def test_the_same_decoder_gives_the_same_bytes(path):
    write_decoder(path, HEADER, b"abc")
    first = path.read_bytes()
    write_decoder(path, dict(reversed(HEADER.items())), b"abc")
    assert path.read_bytes() == first
    now = int(time.time())
    assert not any(second.to_bytes(4, "little") in first for second in range(now - 60, now + 1))


@pytest.mark.parametrize("size", [0, 1, 1000, 50_000])
def test_hdf5_adds_little_to_a_decoder(path, size):
    write_decoder(path, HEADER, bytes(size))
    text = json.dumps(HEADER, separators=(",", ":")).encode()
    values = DECODER_FORMAT.encode(), bytes([VERSION]), content_id(HEADER, b""), text, bytes(size)
    assert path.stat().st_size - sum(map(len, values)) <= 265


def test_hdf5_adds_little_to_a_large_decoder(path):
    write_decoder(path, HEADER, bytes(100_000))
    assert path.stat().st_size < 101_000


def test_any_program_can_read_a_decoder(path):
    identity = write_decoder(path, HEADER, b"\0\xff\0")
    with h5py.File(path) as file:
        assert set(file.attrs) == {"format", "version", "content_id", "header", "parameters"}
        assert file.attrs["format"] == b"aezip-decoder" and file.attrs["version"] == 1
        assert file.attrs["content_id"].decode() == identity
        assert json.loads(file.attrs["header"]) == HEADER
        assert file.attrs["parameters"].tolist() == [0, 255, 0]


def test_content_ids_never_change():
    assert content_id({}, b"") == hashlib.sha256(b"{}\0").hexdigest()[:16]
    assert content_id({"b": [1, 0.5], "a": "ü"}, b"\0\xff") == (
        hashlib.sha256(rb'{"a":"\u00fc","b":[1,0.5]}' + b"\0\0\xff").hexdigest()[:16]
    )
    assert content_id(HEADER, b"parameters") == "0af4bae6df9d9960"


def test_content_ids_tell_contents_apart():
    contents = [({}, b""), ({}, b"\0"), ({"a": 1}, b""), ({"a": 1.0}, b""), ({"a": True}, b"")]
    assert len({content_id(*content) for content in contents}) == len(contents)
    assert content_id({"a": 1, "b": 2}, b"") == content_id({"b": 2, "a": 1}, b"")


def test_where_nothing_can_be_written(tmp_path):
    for write, content in ((write_decoder, b""), (write_model, {})):
        with pytest.raises(ModelError, match="cannot be written: no such file or directory"):
            write(tmp_path / "no" / "file.h5", {}, content)
        with pytest.raises(ModelError, match="cannot be written: it exists and is not a file"):
            write(tmp_path, {}, content)


def test_a_full_disk(path):
    code = """if True:
        import resource, signal, sys
        import numpy as np
        from aezip.errors import ModelError
        from aezip.storage.hdf5 import write_decoder, write_model
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))  # as if the disk were full
        for write, content in ((write_decoder, bytes(1 << 16)), (write_model, {"a": np.ones(999)})):
            try:
                write(sys.argv[1], {}, content)
            except ModelError as error:
                print(error)
    """
    pytest.importorskip("resource")
    command = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout == f"{path} cannot be written: file too large\n" * 2
    assert os.listdir(path.parent) == []


# --- what is none ---

READERS = [read_decoder, read_model, read_format]


@pytest.mark.parametrize("read", READERS)
def test_missing_files_and_folders(tmp_path, read):
    assert refused(read, tmp_path / "file.h5") == ": there is no such file"
    assert refused(read, tmp_path) == "cannot be read: is a directory"
    with pytest.raises(ModelError, match=r"a\\nb: there is no such file"):
        read(tmp_path / "a\nb")


@pytest.mark.parametrize("content", [b"", b"name,size\n", b"\x89HDF\r\n\x1a", bytes(5000)])
@pytest.mark.parametrize("read", READERS)
def test_files_that_are_not_hdf5(path, read, content):
    path.write_bytes(content)
    assert refused(read, path) == "is not an HDF5 file"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("form", [None, "other", 7, b"\xff\xfe", ["aezip-model"], "aezip-model "])
def test_hdf5_files_of_others(path, read, form):
    with h5py.File(path, "w") as file:
        file["data"] = [1, 2, 3]
        if form is not None:
            file.attrs["format"] = np.bytes_(form) if isinstance(form, str) else form
    assert refused(read, path) == "is an HDF5 file, but neither a model nor a decoder of aezip"


def test_a_model_is_no_decoder(path):
    write_model(path, HEADER, TENSORS)
    assert refused(read_decoder, path) == (
        "is a fitted model (what `aezip fit` writes); "
        "needed is a decoder (the .h5 beside an archive)"
    )
    write_decoder(path, HEADER, b"")
    assert refused(read_model, path) == (
        "is a decoder (the .h5 beside an archive); "
        "needed is a fitted model (what `aezip fit` writes)"
    )


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("version", "said"),
    [
        (2, "is of format version 2, written by a newer aezip; this aezip reads version 1"),
        (200, "is of format version 200, written by a newer aezip; this aezip reads version 1"),
        (0, "is of format version 0; this aezip reads version 1"),
        (None, "is damaged: it has no version"),
        ([1, 1], "is damaged: it has no version"),
        (1.5, "is damaged: it has no version"),
        ("1", "is damaged: it has no version"),
    ],
)
def test_versions(path, read, version, said):
    if read is read_model:
        write_model(path, HEADER, TENSORS)
    else:
        write_decoder(path, HEADER, b"")
    with h5py.File(path, "a") as file:
        del file.attrs["version"]
        if version is not None:
            file.attrs["version"] = version
    assert refused(read, path) == said


# --- damage ---


def test_a_file_cut_anywhere(path):
    for write, read, content in (
        (write_decoder, read_decoder, bytes(50)),
        (write_model, read_model, TENSORS),
    ):
        write(path, HEADER, content)
        whole = path.read_bytes()
        for length in range(0, len(whole), 1 + len(whole) // 60):
            path.write_bytes(whole[:length])
            said = refused(read, path)
            damaged = said.startswith("is damaged: unable to synchronously open file (")
            assert said == "is not an HDF5 file" if length < 8 else damaged


BYTE = st.tuples(st.integers(min_value=0), st.integers(0, 255))  # where, and what is there
MUTATIONS = st.lists(BYTE, min_size=1, max_size=4)


class Originals(dict[str, bytes]):
    """Files by their names, which a failing test need not print."""

    def __repr__(self) -> str:
        return "originals"


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Originals:
    path = tmp_path_factory.getbasetemp() / "original.h5"
    files = {}
    for name, size in (("small", 30), ("large", 70_000)):
        write_decoder(path, HEADER, np.random.default_rng(1).bytes(size))
        files[name] = path.read_bytes()
    write_model(path, HEADER, TENSORS)
    files["model"] = path.read_bytes()
    return Originals(files)


def mutated(whole: bytes, mutations: list[tuple[int, int]]) -> bytes:
    content = bytearray(whole)
    for at, byte in mutations:
        content[at % len(content)] = byte
    return bytes(content)


@given(st.sampled_from(["small", "large"]), MUTATIONS)
@settings(max_examples=150)
def test_a_changed_decoder_is_refused_or_the_same(tmp_path_factory, originals, name, mutations):
    path = tmp_path_factory.getbasetemp() / "changed.h5"
    path.write_bytes(originals[name])
    before = read_decoder(path)
    path.write_bytes(mutated(originals[name], mutations))
    try:
        after = read_decoder(path)
    except ModelError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        assert after == before


@given(MUTATIONS)
@settings(max_examples=150)
def test_a_changed_model_is_refused_or_has_other_numbers(tmp_path_factory, originals, mutations):
    path = tmp_path_factory.getbasetemp() / "changed.h5"
    path.write_bytes(mutated(originals["model"], mutations))
    try:
        _, tensors = read_model(path)
    except ModelError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        assert {k: v.shape for k, v in tensors.items()} == {
            k: v.shape for k, v in TENSORS.items()
        }


def test_every_byte_of_the_parameters_is_checked(path):
    parameters = np.random.default_rng(1).bytes(70_000)  # a data set, without a checksum of HDF5
    write_decoder(path, HEADER, parameters)
    whole = path.read_bytes()
    at = whole.index(parameters)
    for place in (0, 1, 35_000, 69_999):
        path.write_bytes(mutated(whole, [(at + place, whole[at + place] ^ 1)]))
        said = refused(read_decoder, path)
        assert said == "is damaged: its content does not match its content id"


# --- files of strangers ---


def decoder_by_hand(path: Path, **attributes) -> h5py.File:
    """An open decoder of which a test may write the rest."""
    file = h5py.File(path, "w")
    text = np.bytes_(json.dumps(HEADER))
    basic = {"format": np.bytes_(DECODER_FORMAT), "version": np.uint8(VERSION), "header": text}
    for name, value in {**basic, "content_id": np.bytes_("0" * 16), **attributes}.items():
        if value is not None:
            file.attrs[name] = value
    return file


def model_by_hand(path: Path) -> h5py.File:
    """An open model with one more data set to be written."""
    write_model(path, HEADER, {"w": np.ones(3)})
    return h5py.File(path, "a")


def test_what_is_written_by_hand_can_be_read(path):
    text = json.dumps(HEADER, indent=2).encode()
    identity = hashlib.sha256(text + b"\0abc").hexdigest()[:16]
    with decoder_by_hand(path, header=np.bytes_(text), content_id=np.bytes_(identity)) as file:
        file.create_dataset("parameters", data=np.frombuffer(b"abc", np.uint8), chunks=(2,))
    assert read_decoder(path) == (HEADER, b"abc", identity)
    with model_by_hand(path) as file:
        file.create_dataset("tensors/z", data=np.arange(9), chunks=(4,))
    np.testing.assert_array_equal(read_model(path)[1]["z"], np.arange(9))
    identity = hashlib.sha256(text + b"\0ab\0").hexdigest()[:16]
    with decoder_by_hand(path, header=np.bytes_(text), content_id=np.bytes_(identity)) as file:
        file.attrs.create("parameters", np.array(b"ab\0", "S3"))  # NumPy sees the length of 2
    assert read_decoder(path) == (HEADER, b"ab\0", identity)


@pytest.mark.parametrize("link", ["soft", "external"])
def test_links_are_not_followed(path, link):
    other = path.with_name("secret.h5")
    with h5py.File(other, "w") as file:
        file["a"] = np.arange(9, dtype=np.uint8)
    target = h5py.SoftLink("/elsewhere") if link == "soft" else h5py.ExternalLink(other, "/a")
    for name in ("parameters", "header"):
        with decoder_by_hand(path, header=None) as file:
            file["elsewhere"] = np.arange(9, dtype=np.uint8)
            file[name] = target
            if name == "parameters":
                file.attrs["header"] = np.bytes_("{}")
        assert refused(read_decoder, path) == f"is damaged: {name} is a link to somewhere else"
    with model_by_hand(path) as file:
        file["elsewhere"] = np.arange(9)
        file["tensors/a"] = target
    assert refused(read_model, path) == "is damaged: a is a link to somewhere else"
    with model_by_hand(path) as file:
        del file["tensors"]
        file["elsewhere"] = np.arange(9)
        file["tensors"] = target
    assert refused(read_model, path) == "is damaged: tensors is a link to somewhere else"


def test_data_in_other_files_is_not_read(path):
    secret = path.with_name("secret")
    secret.write_bytes(bytes(range(72)))
    with h5py.File(path.with_name("secret.h5"), "w") as file:
        file["a"] = np.arange(9, dtype=np.uint8)
    layout = h5py.VirtualLayout(shape=(9,), dtype=np.uint8)
    layout[:] = h5py.VirtualSource(path.with_name("secret.h5"), "a", shape=(9,))

    def external(group):
        group.create_dataset("parameters", (9,), np.uint8, external=[(str(secret), 0, 9)])

    def virtual(group):
        group.create_virtual_dataset("parameters", layout)

    for create in (external, virtual):
        with decoder_by_hand(path) as file:
            create(file)
        assert refused(read_decoder, path) == "is damaged: /parameters is stored in another file"
        with model_by_hand(path) as file:
            create(file["tensors"])
        said = refused(read_model, path)
        assert said == "is damaged: /tensors/parameters is stored in another file"


@pytest.mark.parametrize("shape", [(MAX_HDF5_BYTES + 1,), (1 << 40,), (1 << 20, 1 << 20, 1 << 20)])
def test_huge_claims_ask_for_no_memory(path, shape):
    with decoder_by_hand(path) as file:
        file.create_dataset("parameters", shape, np.uint8, chunks=(1,) * len(shape))
    assert path.stat().st_size < 10_000
    assert refused(read_decoder, path) == "is damaged: /parameters claims more than 1024 MiB"
    with model_by_hand(path) as file:
        file.create_dataset("tensors/a", shape, np.uint8, chunks=(1,) * len(shape))
    assert refused(read_model, path) == "is damaged: /tensors/a claims more than 1024 MiB"


def claiming(file, name, kind):
    """A data set of 1 MB in a few bytes of file."""
    if kind == "packed":
        file.create_dataset(name, data=np.zeros(1 << 20, np.uint8), compression="gzip")
    elif kind == "a chunk beyond it":
        file.create_dataset(name, (9,), np.uint8, maxshape=(None,), chunks=(1 << 20,))
    else:
        file.create_dataset(name, (1 << 20,), np.uint8)


@pytest.mark.parametrize("kind", ["packed", "a chunk beyond it", "nowhere"])
def test_no_more_is_read_than_the_file_has(path, kind):
    said = "is packed" if kind == "packed" else "claims more than the whole file has"
    with decoder_by_hand(path) as file:
        claiming(file, "parameters", kind)
    assert path.stat().st_size < 30_000
    assert refused(read_decoder, path) == f"is damaged: /parameters {said}"
    with model_by_hand(path) as file:
        claiming(file, "tensors/a", kind)
    assert refused(read_model, path) == f"is damaged: /tensors/a {said}"


def test_one_profile_under_many_names(path):
    write_decoder(path, {"a": 1}, b"xyz", {"0" * 8: b"p" * 70_000})
    assert read_profile(path, "0" * 8) == b"p" * 70_000 and read_profile(path, "1" * 8) is None
    with h5py.File(path, "r+") as file:
        file[f"profile_{1:08}"] = file["profile_" + "0" * 8]
    assert read_profile(path, "0" * 7 + "1") == b"p" * 70_000
    said = refused(read_profiles, path)
    assert said == "is damaged: its colour profiles claim more than the whole file has"


def test_many_large_arrays_together(path, monkeypatch):
    with model_by_hand(path) as file:
        for name in "abc":
            file.create_dataset(f"tensors/{name}", data=np.zeros(1 << 16))
    assert read_model(path)[1].keys() > {"a", "b", "c"}
    monkeypatch.setenv("AEZIP_MAX_HDF5_BYTES", str(1 << 20))
    assert refused(read_model, path) == "is damaged: its arrays claim more than 1 MiB"


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"header": None}, "it has no header"),
        ({"content_id": None}, "it has no content_id"),
        ({"content_id": np.arange(16, dtype=np.uint8)}, "its content_id is not text"),
        ({"content_id": np.bytes_("0" * 15)}, "its content does not match its content id"),
        ({"header": "of variable length"}, "its header is not stored in place"),
        ({"header": np.float64(1)}, "its header is neither text nor numbers"),
        ({"header": np.arange(3)}, "header does not hold bytes"),
        ({"parameters": None}, "it has no parameters"),
        ({"parameters": np.arange(3, dtype=np.int8)}, "parameters does not hold bytes"),
        ({"parameters": h5py.Empty(np.float32)}, "its parameters is neither text nor numbers"),
    ],
)
def test_attributes_of_the_wrong_kind(path, attributes, said):
    decoder_by_hand(path, **{"parameters": np.arange(3, dtype=np.uint8), **attributes}).close()
    assert refused(read_decoder, path) == f"is damaged: {said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[]", "its header is not a JSON object"),
        (b"7", "its header is not a JSON object"),
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode"),
        (b"[" * 50_000, "recursion"),
    ],
    ids=["list", "number", "half", "bytes", "deep"],
)
def test_headers_that_are_no_objects(path, text, said):
    identity = np.bytes_(hashlib.sha256(text + b"\0").hexdigest()[:16])
    nothing = h5py.Empty(np.uint8)
    decoder_by_hand(path, header=np.bytes_(text), content_id=identity, parameters=nothing).close()
    message = refused(read_decoder, path)
    assert message.startswith("is damaged: ") and said in message


@pytest.mark.parametrize(
    "value", ["text", np.bytes_("text"), np.array([(1, 2.0)], "i4,f4"), h5py.Empty("f4"), 1j]
)
def test_data_sets_of_other_things(path, value):
    with model_by_hand(path) as file:
        file["tensors/a\nb"] = value
    assert refused(read_model, path) == r"is damaged: /tensors/a\nb does not hold plain numbers"


def test_parameters_that_are_no_data_set(path):
    with decoder_by_hand(path) as file:
        file.create_group("parameters")
    assert refused(read_decoder, path) == "is damaged: parameters is not a data set"


def test_tensors_that_are_no_group(path):
    with model_by_hand(path) as file:
        del file["tensors"]
    assert refused(read_model, path) == "is damaged: it has no tensors"
    with model_by_hand(path) as file:
        del file["tensors"]
        file["tensors"] = np.ones(3)
    assert refused(read_model, path) == "is damaged: its tensors are not a group"


def test_a_named_type_is_no_tensor(path):
    with model_by_hand(path) as file:
        file["tensors/a"] = np.dtype("f4")
    assert refused(read_model, path) == "is damaged: a is not a data set"


def test_groups_that_lead_in_a_circle(path):
    for target in ("tensors", "/", "tensors/w"):
        with model_by_hand(path) as file:
            file["tensors/loop"] = file[target]
        assert refused(read_model, path).startswith("is damaged: its groups lead in a circle")


def test_groups_too_deep(path):
    with model_by_hand(path) as file:
        file["tensors/" + "a/" * 5000 + "b"] = np.ones(1)
    assert refused(read_model, path).startswith("is damaged: its groups lead in a circle")


# --- profiles, and the decoder before -----------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 500, 70_000])
def test_profiles(path, size):
    profiles = {"0123abcd": b"p" * size, "00000000": b"\0"}
    identity = write_decoder(path, {"a": 1}, b"xyz", profiles)
    assert identity == content_id({"a": 1}, b"xyz")
    assert read_decoder(path) == ({"a": 1}, b"xyz", identity)
    assert read_profiles(path) == profiles
    write_decoder(path, {"a": 1}, b"xyz")
    assert read_profiles(path) == {}


@pytest.mark.parametrize("size", [5, 70_000])
def test_the_decoder_before_is_there_until_it_is_not_needed(path, size):
    one = write_decoder(path, {"a": 1}, b"1" * size, {"0123abcd": b"p"})
    two = write_decoder(path, {"a": 2}, b"2", {"99999999": b"q"}, previous=one)
    for wanted, header, profile in ((one, {"a": 1}, b"p"), (two, {"a": 2}, b"q")):
        assert read_decoder(path, wanted)[0] == header
        assert list(read_profiles(path, wanted).values()) == [profile]
    assert read_decoder(path)[2] == two == read_decoder(path, "0" * 16)[2]
    three = write_decoder(path, {"a": 3}, b"3", {}, previous=one)  # after a crash
    assert read_decoder(path, one)[0] == {"a": 1} and read_decoder(path, three)[0] == {"a": 3}
    assert read_decoder(path, two)[2] == three
    assert write_decoder(path, {"a": 3}, b"3") == three
    assert read_decoder(path, one)[2] == three


def test_a_damaged_decoder_before(path):
    one = write_decoder(path, {"a": 1}, b"1" * 70_000)  # a data set, and no part of the header
    two = write_decoder(path, {"a": 2}, b"2", {}, previous=one)
    data = path.read_bytes()
    at = data.rindex(b"\x89HDF")
    path.write_bytes(data[:at] + b"\0" + data[at + 1 :])
    assert read_decoder(path, two)[0] == {"a": 2}
    with pytest.raises(ModelError, match="is damaged"):
        read_decoder(path, one)
