"""The keys of a guest's SSH: made before it boots, so that it is known before it speaks."""

from __future__ import annotations

import struct
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Keys:
    """The keys of one boot of one guest, neither used twice: the one that the guest must show, and
    the one by which we are let in.
    """

    def __init__(self) -> None:
        self.host = Ed25519PrivateKey.generate()
        self.client = Ed25519PrivateKey.generate()

    def install(self, share: Path) -> None:
        """Write what the guest needs into its share: its host key, and whom it lets in."""
        key = share / "hostkey"
        key.touch(0o600)
        key.write_bytes(self._dropbear())
        (share / "authorized_keys").write_bytes(_public_line(self.client) + b"\n")

    def _dropbear(self) -> bytes:
        """Return the host key in dropbear's own format (signkey.c, ed25519.c of dropbear)."""
        raw = serialization.Encoding.Raw
        private = self.host.private_bytes(
            raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        public = self.host.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
        return b"".join(
            struct.pack(">I", len(part)) + part for part in (b"ssh-ed25519", private + public)
        )


def _public_line(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
