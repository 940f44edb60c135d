"""How an OPC UA link is protected, as its configuration says it.  The certificates themselves: opcua_security.py.

Apart from those, so that a line without OPC UA does not load what they need.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from gateway.recipe import Frozen
from gateway.units import Duration

DEPRECATED: Final = ("Basic128Rsa15", "Basic256")
"""SHA-1: withdrawn by the OPC Foundation."""
Policy = Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss", "Basic256", "Basic128Rsa15", "None"]
Mode = Literal["SignAndEncrypt", "Sign", "None"]


class Security(Frozen):
    """How the link is protected.  What is weaker than signed and checked needs a `waiver`: a reason, shown to all."""

    policy: Policy = "Basic256Sha256"
    mode: Mode = "SignAndEncrypt"
    pki: Path | None = None
    """Folder with `own.der`, `own.pem` (made where missing) and `trust/`: stands for the next three together."""
    certificate: Path | None = None
    """Our own application certificate, DER or PEM."""
    key: Path | None = None
    """Its private key, PEM."""
    trust: Path | None = None
    """Folder of trusted server or CA certificates; unknown ones are put into its subfolder `rejected`."""
    server_certificate: Path | None = None
    """The server's certificate, where it must not be fetched over an unsecured channel first."""
    user: str | None = None
    password: str | None = Field(None, repr=False)
    """By reference only: `${file:...}` or `${env:...}`."""
    expiry_notice_s: Duration = Field(30 * 86400.0, alias="expiry_notice", ge=0)
    """So long before our certificate or the server's ends there is a warning and an alarm."""
    waiver: str | None = None

    @model_validator(mode="after")
    def _strong_or_waived(self) -> Security:
        if (self.policy == "None") != (self.mode == "None"):
            raise ValueError("policy None and mode None belong together; say both or neither")
        if self.mode != "None" and self._own() is None:
            raise ValueError(
                "needs our certificate: give `pki: FOLDER` (made there if missing), or certificate and key"
            )
        weak = self.weakness()
        if weak and not (self.waiver and self.waiver.strip()):
            raise ValueError(
                f"{weak}; use policy Basic256Sha256, mode SignAndEncrypt and `pki: FOLDER`, "
                "or give the reason why not as `waiver:`"
            )
        return self

    def _own(self) -> tuple[Path, Path] | None:
        if self.certificate and self.key:
            return self.certificate, self.key
        return (self.pki / "own.der", self.pki / "own.pem") if self.pki else None

    @property
    def own(self) -> tuple[Path, Path]:
        """Certificate and key; only where the mode needs them (validated)."""
        files = self._own()
        assert files is not None, "validated: a secured link has a certificate"
        return files

    @property
    def trusted(self) -> Path | None:
        """The trust folder; None: the server's certificate is not checked (waived)."""
        return self.trust or (self.pki / "trust" if self.pki else None)

    def weakness(self) -> str | None:
        """What a waiver has to answer for; None where nothing is weak."""
        if self.mode == "None":
            spoken = f", and the password of {self.user} may be read on the wire" if self.user else ""
            return f"the link is neither signed nor encrypted (security None){spoken}"
        if self.policy in DEPRECATED:
            return f"policy {self.policy} is deprecated (SHA-1)"
        if self.trusted is None:
            return "the server's certificate is not checked (no trust folder)"
        return None
