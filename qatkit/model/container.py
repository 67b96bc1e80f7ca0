"""The outside of a model file: a JSON header and a payload of bytes, checked, and encrypted where a key is given.

Layout, integers little-endian:

    magic 8 bytes | version u32 | header length u32 | header, UTF-8 JSON | payload | SHA-256 of all before

With a key the payload is encrypted by AES-256-GCM, and all that precedes it is authenticated with it: the header
stays readable, but nobody without the key can change it unnoticed. The key is stretched by scrypt with a salt per
file; a part of scrypt's output is stored to recognize a wrong key. The checksum tells a damaged file from that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatkit import files
from qatkit.errors import ModelError
from qatkit.model.foreign import describe_foreign

MAGIC = b"\x89QATKIT\n"
VERSION = 1
# Headers hold node lists and a spec's text: some hundred kilobytes.
MAX_HEADER = 16 << 20
_PREFIX = struct.Struct("<8sII")
_DIGEST_SIZE = hashlib.sha256().digest_size
# Cost of scrypt, fixed by the version so that no file can ask for gigabytes: 32 MiB and about a tenth of a second.
_SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 << 20}
_SALT_SIZE = 16
_NONCE_SIZE = 12
_KEY_SIZE = 32
_CHECK_SIZE = 16


@dataclass(frozen=True)
class _Secret:
    """What scrypt makes of a pass-phrase: the key of the payload, and the value that recognizes the pass-phrase."""

    key: bytes
    check: bytes


def write(path: Path, header: dict[str, Any], payload: bytes, key: str | None) -> None:
    """Write `header` and `payload` to `path` in one step; no key or an empty one leaves the payload plain."""
    files.write_bytes(path, pack(header, payload, key), durable=True)


def read(path: Path, key: str | None) -> tuple[dict[str, Any], bytes]:
    """Header and payload of the file at `path`; a plain file opens with any key.

    Raises ModelError for a file that is missing, of another kind, damaged, encrypted without a key at hand, or
    encrypted with another key; each has its own message.
    """
    return unpack(read_bytes(path), path, key)


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises ModelError where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such model file") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: this is a folder, not a model file") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot read it: {getattr(error, 'strerror', None) or error}") from error


def pack(header: dict[str, Any], payload: bytes, key: str | None) -> bytes:
    """The bytes of a model file."""
    if not key:
        start = _start({**header, "encryption": None})
    else:
        salt, nonce = os.urandom(_SALT_SIZE), os.urandom(_NONCE_SIZE)
        secret = _stretch(key, salt)
        encryption = {"salt": salt.hex(), "nonce": nonce.hex(), "check": secret.check.hex()}
        start = _start({**header, "encryption": encryption})
        payload = _cipher(secret).encrypt(nonce, payload, start)
    content = start + payload
    return content + hashlib.sha256(content).digest()


def unpack(data: bytes, path: Path, key: str | None) -> tuple[dict[str, Any], bytes]:
    """Header and payload of the bytes of a model file; `path` is for the messages. Raises ModelError as `read`."""
    if not data.startswith(MAGIC):
        raise ModelError(f"{path}: {describe_foreign(data, path)}")
    header_end = _checked_layout(data, path)
    header = _parse(data[_PREFIX.size : header_end], path)
    payload = data[header_end:-_DIGEST_SIZE]
    encryption = header.pop("encryption", None)
    if encryption is None:
        return header, payload
    if not key:
        raise ModelError(f"{path}: this model is encrypted", hint="give its key with -k")
    return header, _decrypt(encryption, payload, data[:header_end], path, key)


def _start(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER:
        raise ModelError(f"the model's description is too long: {len(text)} bytes")
    return _PREFIX.pack(MAGIC, VERSION, len(text)) + text


def _checked_layout(data: bytes, path: Path) -> int:
    """Where the header ends, after version, lengths and checksum were found right."""
    if len(data) < _PREFIX.size:
        raise ModelError(f"{path}: the file is cut off after {len(data)} bytes")
    _, version, length = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise ModelError(f"{path}: format {version} is not known", hint="damaged, or made by a newer qatkit")
    end: int = _PREFIX.size + length
    if length > MAX_HEADER or end + _DIGEST_SIZE > len(data):
        raise ModelError(f"{path}: the file is damaged or cut off: its header should have {length} bytes")
    if hashlib.sha256(data[:-_DIGEST_SIZE]).digest() != data[-_DIGEST_SIZE:]:
        raise ModelError(f"{path}: the file is damaged or cut off: its checksum does not fit")
    return end


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path}: the header is not a JSON object")
    return header


def _decrypt(encryption: Any, payload: bytes, start: bytes, path: Path, key: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    salt, nonce, check = (_field(encryption, name, path) for name in ("salt", "nonce", "check"))
    secret = _stretch(key, salt)
    if not hmac.compare_digest(secret.check, check):
        raise ModelError(f"{path}: the key does not fit this model", hint="it was saved with another -k")
    try:
        plain: bytes = _cipher(secret).decrypt(nonce, payload, start)
        return plain
    except InvalidTag:
        raise ModelError(f"{path}: the file was changed after it was encrypted") from None


def _field(encryption: Any, name: str, path: Path) -> bytes:
    sizes = {"salt": _SALT_SIZE, "nonce": _NONCE_SIZE, "check": _CHECK_SIZE}
    try:
        value = bytes.fromhex(encryption[name])
    except (KeyError, TypeError, ValueError):
        value = b""
    if len(value) != sizes[name]:
        raise ModelError(f"{path}: the header's encryption.{name} is missing or malformed")
    return value


def _stretch(key: str, salt: bytes) -> _Secret:
    # surrogateescape: a shell may hand over bytes that are not UTF-8.
    phrase = key.encode("utf-8", "surrogateescape")
    output = hashlib.scrypt(phrase, salt=salt, dklen=_KEY_SIZE + _CHECK_SIZE, **_SCRYPT)
    return _Secret(output[:_KEY_SIZE], output[_KEY_SIZE:])


def _cipher(secret: _Secret) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(secret.key)
