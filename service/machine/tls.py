"""The certificate and key of both doors, read and tried before a port is opened."""

import pathlib
import ssl
from dataclasses import dataclass

from service.settings import SettingError, Settings


@dataclass(frozen=True)
class Tls:
    """What the doors need: PEM bytes for gRPC, a context for HTTP. Both speak TLS 1.2 or newer."""

    certificate: bytes
    key: bytes
    context: ssl.SSLContext

    def __repr__(self) -> str:
        return "Tls()"


def load_tls(settings: Settings) -> Tls | None:
    """The files that the settings name; None where they name none.

    Raises SettingError naming the file that cannot be read, and where certificate and key do not belong together.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    certificate = _read("TRAIND_TLS_CERT", settings.tls_cert)
    key = _read("TRAIND_TLS_KEY", settings.tls_key)
    if b"ENCRYPTED" in key:
        raise SettingError(
            f"TRAIND_TLS_KEY: {settings.tls_key} is encrypted, and nobody is there to type its password; write it "
            "without one (openssl pkey -in KEY -out NEW) and keep it readable by traind's user only"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        raise _unfit(settings, error) from None
    return Tls(certificate, key, context)


def _read(variable: str, path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(
            f"{variable}: {path} cannot be read ({error.strerror}); name a PEM file that traind's user may read"
        ) from None


def _unfit(settings: Settings, error: ssl.SSLError) -> SettingError:
    if "MISMATCH" in (error.reason or ""):
        return SettingError(
            f"TRAIND_TLS_KEY: {settings.tls_key} is not the key of the certificate in {settings.tls_cert} "
            "(TRAIND_TLS_CERT); name the key that was made with it"
        )
    return SettingError(
        f"TRAIND_TLS_CERT and TRAIND_TLS_KEY: {settings.tls_cert} and {settings.tls_key} are no certificate and key in "
        f"PEM form ({error.reason or 'unreadable'}); the first file holds the certificate, then its chain"
    )
