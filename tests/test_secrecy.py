import hashlib
import re
import shutil
import subprocess
import sys

import pytest
from folders import (
    environment,
    files,
    invoke,
    photos,
    place,
    quick_archive,
    quick_model,
    refused,
    run,
)
from PIL import Image, ImageCms

import aezip
from aezip import extracting, verifying
from aezip.errors import ArchiveError, ModelError
from aezip.storage import secrecy
from aezip.storage.hdf5 import read_decoder, read_profiles, write_decoder
from aezip.storage.journal import partial_path

PASSPHRASE = "correct horse, Grüße"


@pytest.fixture(scope="module")
def made():
    """An encrypted archive of photographs, one of which has a profile and EXIF."""
    folder = place("secret")
    shutil.copytree(photos(), folder / "photos")
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(photos() / "lake.png") as image:
        image.save(folder / "photos" / "secret name.jpg", exif=exif, icc_profile=profile)
    aezip.compress(
        folder / "photos", folder / "out.csv", quick_model(), passphrase=PASSPHRASE,
        keep_metadata=True, compare=False, quality=50,
    )  # fmt: skip
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("AEZIP_PASSPHRASE", PASSPHRASE)
    return tmp_path


def test_with_the_passphrase_it_is_an_archive(here):
    archive = aezip.open(here / "out.csv", PASSPHRASE)
    plain = aezip.open(quick_archive())
    assert archive.names == ["animals/dogs.png", "drum.jpg", "lake.png", "secret name.jpg"]
    assert archive["lake.png"].tobytes() == plain["lake.png"].tobytes()
    assert archive["secret name.jpg"].info["icc_profile"]
    for command in (
        ["list", "out.csv"], ["info", "out.csv"], ["info", "out.h5"], ["extract", "out.csv", "x"],
        ["verify", "out.csv", "--against", "photos"], ["view", "out.csv", "--save", "x.png"],
    ):  # fmt: skip
        done = invoke(*command, cwd=here)
        assert (done.exit_code, done.stderr) == (0, ""), command
    assert aezip.verify(here / "out.csv", here / "photos", jobs=2).wrong == []


def test_processes_that_share_the_work_need_not_be_told(here, monkeypatch):
    monkeypatch.delenv("AEZIP_PASSPHRASE")
    monkeypatch.setattr(extracting, "_BATCH_PIXELS", 1)
    monkeypatch.setattr(verifying, "_BATCH", 1)
    archive = aezip.open(here / "out.csv", PASSPHRASE)
    assert aezip.extract(archive, here / "x", jobs=2) == []
    assert len([x for x in (here / "x").rglob("*") if x.is_file()]) == 4
    assert aezip.verify(here / "out.csv", passphrase=PASSPHRASE, jobs=2).intact == 4


def test_nothing_can_be_read_without_it(here):
    data = (here / "out.csv").read_bytes() + (here / "out.h5").read_bytes()
    for word in (b"secret", b"lake", b"jpg", b"64x", b"Camera", b"pyramid", b"RGB", b"acsp"):
        assert word not in data
    assert (here / "out.csv").read_text().startswith("aezip1_")
    header, parameters, _ = read_decoder(here / "out.h5")
    assert header.keys() == {"arch", "kdf", "n", "r", "p", "salt", "check"}
    plain = read_decoder(quick_archive().with_suffix(".h5"))[1]
    assert len(plain) > 1000 and plain not in data and plain[:16] not in data
    assert parameters[16:] not in quick_archive().with_suffix(".h5").read_bytes()


def test_nobody_is_told_which_of_the_usual_profiles_there_is(here):
    profile = aezip.open(here / "out.csv", PASSPHRASE)["secret name.jpg"].info["icc_profile"]
    ids = set()
    for name in ("a.csv", "b.csv"):
        aezip.compress(
            here / "photos", here / name, quick_model(), passphrase=PASSPHRASE, compare=False,
            quality=50,
        )  # fmt: skip
        ids |= read_profiles((here / name).with_suffix(".h5")).keys()
    plain = hashlib.sha256(profile).hexdigest()[:8]
    assert len(ids) == 2 and plain not in ids
    for name in ids:
        assert name.encode() not in (here / "a.csv").read_bytes()
    assert aezip.open(here / "b.csv", PASSPHRASE)["secret name.jpg"].info["icc_profile"] == profile


def test_two_archives_of_the_same_have_nothing_in_common(here):
    aezip.compress(
        here / "photos", here / "b.csv", quick_model(), passphrase=PASSPHRASE, compare=False,
        quality=50,
    )  # fmt: skip
    one, other = ((here / x).read_bytes().split(b"\n")[1:-1] for x in ("out.csv", "b.csv"))
    assert len(one) == len(other) == 4 and not set(one) & set(other)
    (here / "out.csv").write_bytes((here / "b.csv").read_bytes())
    refused(invoke("list", "out.csv", cwd=here), "out.h5 is not the decoder")


def test_each_mistake_has_its_own_error(here, monkeypatch):
    monkeypatch.setenv("AEZIP_PASSPHRASE", "correct horse")
    refused(invoke("list", "out.csv", cwd=here), "out.h5: this is not its passphrase")
    monkeypatch.delenv("AEZIP_PASSPHRASE")
    refused(invoke("list", "out.csv", cwd=here), "out.h5 is encrypted: its passphrase is needed")
    code = "import sys, aezip; sys.modules['cryptography'] = None; aezip.open('out.csv', 'x')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "ModelError: encrypted archives need the package cryptography" in done.stderr


def test_tampering_is_noticed(here):
    header, parameters, _ = read_decoder(here / "out.h5")
    profiles = read_profiles(here / "out.h5")
    changed = parameters[:-1] + bytes([parameters[-1] ^ 1])
    identity = write_decoder(here / "out.h5", header, changed, profiles)
    csv = (here / "out.csv").read_text()
    (here / "out.csv").write_text(csv.replace(aezip.archive.RowFile(here / "out.csv").decoder_id,
                                              identity))  # fmt: skip
    refused(invoke("list", "out.csv", cwd=here), "out.h5: it was damaged or tampered with")


def test_a_row_that_was_tampered_with(here):
    lines = (here / "out.csv").read_bytes().split(b"\n")
    lines[2] = lines[2].replace(lines[2][-4:-1], b"!!!")
    (here / "out.csv").write_bytes(b"\n".join(lines))
    result = invoke("verify", "out.csv", cwd=here)
    assert result.exit_code == 1
    assert "row 1 is damaged: " in result.stderr and "3 of 4 rows" in result.stdout


def test_rows_taken_away_are_noticed_even_where_the_header_says_so(here):
    """Whoever knows the format can put any count there, and not the seal."""
    lines = (here / "out.csv").read_bytes().split(b"\n")
    lines[0] = lines[0].replace(b"_4_", b"_3_")
    (here / "out.csv").write_bytes(b"\n".join([*lines[:3], *lines[4:]]))
    result = invoke("verify", "out.csv", cwd=here)
    assert result.exit_code == 1 and "not in the order" in result.stderr
    assert "3 of 3 rows" in result.stdout


def test_add_and_remove(here):
    (here / "more").mkdir()
    with Image.open(here / "photos" / "lake.png") as image:
        image.rotate(90).save(here / "more" / "new.png")
    before = (here / "out.csv").read_bytes().split(b"\n")[1:-1]
    assert invoke("add", "out.csv", "more", cwd=here).exit_code == 0
    after = (here / "out.csv").read_bytes().split(b"\n")[1:-1]
    assert after[:4] == before and len(after) == 5
    assert invoke("remove", "out.csv", "--name", "lake.png", cwd=here).exit_code == 0
    archive = aezip.open(here / "out.csv")
    assert archive.names == ["animals/dogs.png", "drum.jpg", "secret name.jpg", "new.png"]
    assert aezip.verify(here / "out.csv", here / "photos").wrong == []


def test_compress_asks_nobody_where_nobody_is(here, monkeypatch):
    options = ["--model", quick_model(), "--encrypt", "--delete-originals", "--yes"]
    done = run("compress", "photos", "n.csv", *options, cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert "photos" not in {x.split("/")[0] for x in files(here)}
    assert aezip.verify(here / "n.csv").intact == 4
    monkeypatch.delenv("AEZIP_PASSPHRASE")
    refused(invoke("compress", "photos", "m.csv", "--encrypt", cwd=here), "needs a passphrase")


def test_the_journal_tells_nothing_and_can_be_gone_on_from(here):
    class EnoughError(Exception):
        pass

    def stop(done, total):
        if done == 3:
            raise EnoughError

    options = {"passphrase": PASSPHRASE, "compare": False, "quality": 50}
    path = here / "n.csv"
    with pytest.raises(EnoughError):
        aezip.compress(here / "photos", path, quick_model(), progress=stop, **options)
    data = partial_path(path).read_bytes()
    assert b"lake" not in data and b"dogs" not in data
    digests = {re.search(rb'"decoder": "([0-9a-f]{64})"', data)[1]}
    for others in ({"passphrase": PASSPHRASE}, {"passphrase": None}):
        other = here / "m.csv"
        with pytest.raises(EnoughError):
            aezip.compress(here / "photos", other, quick_model(), progress=stop,
                           **{**options, **others})  # fmt: skip
        found = partial_path(other).read_bytes()
        digests.add(re.search(rb'"decoder": "([0-9a-f]{64})"', found)[1])
        partial_path(other).unlink()
    assert len(digests) == 3  # nobody who has the model can tell that it was this one
    with pytest.raises(ModelError, match="not its passphrase"):
        aezip.compress(here / "photos", path, quick_model(), resume=True,
                       **{**options, "passphrase": "other"})  # fmt: skip
    with pytest.raises(ArchiveError, match="other options"):
        aezip.compress(here / "photos", path, quick_model(), resume=True,
                       **{**options, "passphrase": None})  # fmt: skip
    told = []
    aezip.compress(here / "photos", path, quick_model(), resume=True,
                   progress=lambda *x: told.append(x), **options)  # fmt: skip
    assert told[0] == (3, 4)
    assert aezip.verify(path, here / "photos").wrong == []


@pytest.mark.parametrize("changed", [{"n": 1 << 30}, {"r": 1 << 20}, {"n": 3}, {"n": True},
                                     {"salt": 5}, {"salt": "xyz"}, {"kdf": "md5"}, {"check": None},
                                     {"p": 0}, {"n": 1 << 20, "r": 32}])  # fmt: skip
def test_headers_of_strangers(changed):
    header = {"arch": "encrypted", "kdf": "scrypt", "n": 16, "r": 8, "p": 1, "salt": "00" * 16,
              "check": "00" * 8}  # fmt: skip
    with pytest.raises(ModelError, match="x is damaged: it does not say how it was encrypted"):
        secrecy.unlock({**header, **changed}, "p", "x")
    with pytest.raises(ModelError, match="x: this is not its passphrase"):
        secrecy.unlock(header, "p", "x")


def test_the_same_letters_however_they_are_typed(monkeypatch):
    monkeypatch.setitem(secrecy._COST, "n", 16)
    cipher = secrecy.new_cipher("e\u0301")
    assert secrecy.unlock(cipher.header, "\u00e9", "x").mac(b"") == cipher.mac(b"")
    tag, hidden = cipher.seal(b"data", "row")
    assert cipher.open(tag, hidden, "row") == b"data"
    for wrong in ((tag, hidden, "decoder"), (tag[:-1] + b"\0", hidden, "row"), (tag, b"", "row"),
                  (b"", b"", "row")):  # fmt: skip
        with pytest.raises(ArchiveError, match="damaged or tampered with"):
            cipher.open(*wrong)
