"""Encrypted archives: a key from a passphrase, and an authenticated cipher over everything.

The key comes from scrypt (RFC 7914), the cipher is AES-256 in SIV mode (RFC 5297), both of the
`cryptography` package (extra `aezip[crypto]`). SIV needs no nonce, so that nothing breaks where
two processes add to copies of one archive, and takes 16 bytes a row. Equal texts would give equal
ciphertexts, but no two rows have the same name.
"""

from __future__ import annotations

import hmac
import os
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from aezip.errors import ArchiveError, ModelError

ENCRYPTED = "encrypted"
"""What stands for the architecture in the header of an encrypted decoder."""

TAG = 16  # bytes
_COST = {"n": 1 << 17, "r": 8, "p": 1}  # 128 MiB and about half a second
_MOST = {"n": 1 << 20, "r": 32, "p": 16}  # that a stranger's file may ask for
_MOST_MEMORY = 1 << 30
VARIABLE = "AEZIP_PASSPHRASE"
"""The environment variable that scripts put a passphrase in."""

ask: Callable[[str], str] | None = None
"""Asks a person for the passphrase of a file; the command line sets it."""


class Cipher:
    """Encrypts and decrypts under one key, and knows the header that gives it to others."""

    def __init__(self, header: Mapping[str, Any], key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        self.header = dict(header)
        self._key = key
        self._siv = AESSIV(key[:64])
        self._mac_key = key[64:]

    def __reduce__(self) -> tuple[Any, ...]:
        # For processes that share the work: what `cryptography` holds cannot be pickled.
        return Cipher, (self.header, self._key)

    def seal(self, data: bytes, what: str) -> tuple[bytes, bytes]:
        """(tag of 16 bytes, ciphertext as long as the data). `what` it is for is bound to it."""
        sealed = self._siv.encrypt(data, [what.encode()])
        return sealed[:TAG], sealed[TAG:]

    def open(self, tag: bytes, hidden: bytes, what: str) -> bytes:
        """The data. Raises ArchiveError where anything was changed."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._siv.decrypt(tag + hidden, [what.encode()])
        except (InvalidTag, ValueError):
            raise ArchiveError("it was damaged or tampered with") from None

    def mac(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of the data under a key of its own."""
        return hmac.digest(self._mac_key, data, "sha256")


def new_cipher(passphrase: str) -> Cipher:
    """A cipher for a new archive, with a salt of its own. Raises ModelError: no extra."""
    header: dict[str, Any] = {"arch": ENCRYPTED, "kdf": "scrypt", **_COST}
    header["salt"] = secrets.token_hex(16)
    key = _key(passphrase, header)
    return Cipher({**header, "check": _check(key)}, key)


def unlock(header: Mapping[str, Any], passphrase: str, shown: str) -> Cipher:
    """The cipher of an archive whose decoder has this header.

    Raises ModelError: wrong passphrase, a header that is none or asks for too much, no extra.
    """
    salt, check = header.get("salt"), header.get("check")
    cost = [header.get(x) for x in _COST]
    right = (
        header.get("kdf") == "scrypt" and isinstance(salt, str) and isinstance(check, str)
        and all(type(x) is int and 1 <= x <= most for x, most in zip(cost, _MOST.values(),
                                                                     strict=True))
    )  # fmt: skip
    if not right or 128 * header["n"] * header["r"] > _MOST_MEMORY:
        raise ModelError(f"{shown} is damaged: it does not say how it was encrypted")
    try:
        key = _key(passphrase, header)
    except ValueError:
        raise ModelError(f"{shown} is damaged: it does not say how it was encrypted") from None
    if not hmac.compare_digest(_check(key).encode(), str(check).encode()):
        raise ModelError(f"{shown}: this is not its passphrase")
    return Cipher(header, key)


def passphrase_for(shown: str) -> str:
    """The passphrase of a file: from AEZIP_PASSPHRASE, or from whoever can be asked.

    Raises ModelError where nobody can be.
    """
    found = os.environ.get(VARIABLE)
    if found is None and ask is not None:
        found = ask(f"passphrase of {shown}")
    if not found:
        raise ModelError(f"{shown} is encrypted: its passphrase is needed (in {VARIABLE})")
    return found


def _key(passphrase: str, header: Mapping[str, Any]) -> bytes:
    """64 bytes for the cipher and 32 for the code that seals the archive."""
    try:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError:
        raise ModelError(
            "encrypted archives need the package cryptography: pip install 'aezip[crypto]'"
        ) from None
    # The same letters from every keyboard and system.
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    salt = bytes.fromhex(header["salt"])
    return Scrypt(salt, 96, header["n"], header["r"], header["p"]).derive(text)


def _check(key: bytes) -> str:
    """Tells a wrong passphrase from a file that was tampered with; says nothing of the key."""
    return hmac.digest(key[64:], b"aezip passphrase", "sha256")[:8].hex()
