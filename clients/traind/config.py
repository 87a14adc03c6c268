"""Where the server is and which token it gets: argument, then environment, then profile file.

    ~/.config/traind/config.toml        (below XDG_CONFIG_HOME; only its owner may read it)
        [profiles.default]
        url = "grpc://127.0.0.1:8081"
        token = "trd_..."               (or token_file = "/path")
        tls_ca = "/path/ca.pem"         (for grpcs:// where the certificate's signer is not generally known)

A token of the profile goes to that profile's server only: an address that was given otherwise does not get it, unless
the profile was named too.
"""

from __future__ import annotations

import ipaddress
import os
import pathlib
import re
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from traind.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

GRPC_PORT = 8081
TLS_PORT = 443
_TOKEN = re.compile(r"(trd_[A-Za-z0-9]{1,16}_).+")


@dataclass(frozen=True)
class Address:
    """One server's gRPC port."""

    host: str
    port: int
    tls: bool

    @property
    def url(self) -> str:
        """`grpc://127.0.0.1:8081`."""
        return f"{'grpcs' if self.tls else 'grpc'}://{self.target}"

    @property
    def target(self) -> str:
        """`127.0.0.1:8081`, as gRPC wants it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def private(self) -> bool:
        """Whether the host is this machine or one of a local network: no web proxy leads there."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return "." not in self.host or self.host.endswith((".local", ".lan", ".internal", ".localhost"))
        return address.is_private or address.is_loopback or address.is_link_local


DEFAULT_ADDRESS = Address("127.0.0.1", GRPC_PORT, tls=False)


@dataclass(frozen=True)
class Config:
    """Where calls go, with where that was said."""

    address: Address
    address_from: str
    token: str | None = field(repr=False)
    token_from: str
    # Certificates in PEM form that are trusted in place of the generally known ones; None = those.
    authorities: bytes | None = field(default=None, repr=False)


def parse_url(url: str, source: str) -> Address:
    """Read `grpc://host:port` or `grpcs://host:port`; raise ConfigError naming `source` and the right form."""
    parts = urlsplit(url if "://" in url else f"none://{url}")
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme in {"http", "https"}:
        right = f"grpc{'s' if parts.scheme == 'https' else ''}://{host or 'HOST'}:{GRPC_PORT}"
        raise ConfigError(
            f"{source} is {url!r}, the address of REST; this client speaks gRPC",
            fix=f"use {right} (the gRPC port is {GRPC_PORT} unless TRAIND_GRPC_PORT says otherwise)",
        )
    if parts.scheme not in {"grpc", "grpcs"} or not host:
        right = f"grpc://{host or 'HOST'}:{port or GRPC_PORT}"
        raise ConfigError(f"{source} is {url!r}, which is no address of a traind server", fix=f"write it like {right}")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(
            f"{source} has more than a host and a port",
            fix=f"write {parts.scheme}://{host}:{port or GRPC_PORT}; a token never stands in an address",
        )
    tls = parts.scheme == "grpcs"
    return Address(host, port or (TLS_PORT if tls else GRPC_PORT), tls)


def load_config(url: str | None, token: str | None, profile: str | None, environ: Mapping[str, str]) -> Config:
    """Settle address, token and trusted certificates; `None` and empty text count as not given."""
    named = profile or environ.get("TRAIND_PROFILE") or ""
    # Arguments stand over everything: where both are given, a variable may name a profile that is yet to be made.
    values, file = _read_profile(named, environ, needed=bool(profile) or not (url and token))
    own = f"profile {named or 'default'!r} in {file}"
    config = _settle(url, token, named, (values, own), environ)
    return replace(config, authorities=_authorities(values, own, environ)) if config.address.tls else config


def _settle(
    url: str | None, token: str | None, named: str, kept: tuple[Mapping[str, Any], str], environ: Mapping[str, str]
) -> Config:
    values, own = kept
    if url:
        address, address_from = parse_url(url, "the url"), "the url argument"
    elif given := environ.get("TRAIND_URL", "").strip():
        address, address_from = parse_url(given, "TRAIND_URL"), "TRAIND_URL"
    elif given := _text(values, "url", own):
        address, address_from = parse_url(given, f"url of {own}"), own
    else:
        address, address_from = DEFAULT_ADDRESS, "the default, for TRAIND_URL is not set"
    if token:
        return Config(address, address_from, checked_token(token, "the token"), "the token argument")
    if given := environ.get("TRAIND_TOKEN", "").strip():
        return Config(address, address_from, checked_token(given, "TRAIND_TOKEN"), "TRAIND_TOKEN")
    if given := environ.get("TRAIND_TOKEN_FILE", "").strip():
        return Config(address, address_from, _read_token(given, "TRAIND_TOKEN_FILE"), f"TRAIND_TOKEN_FILE {given}")
    held = _profile_token(values, own)
    ours = named or parse_url(_text(values, "url", own) or DEFAULT_ADDRESS.url, f"url of {own}") == address
    return Config(address, address_from, held if ours else None, own if held and ours else "nowhere")


def _authorities(values: Mapping[str, Any], own: str, environ: Mapping[str, str]) -> bytes | None:
    """Whose certificates are trusted. Raises ConfigError where the file is none of certificates."""
    given, source = environ.get("TRAIND_TLS_CA", "").strip(), "TRAIND_TLS_CA"
    if not given:
        given, source = _text(values, "tls_ca", own), f"tls_ca of {own}"
    if not given:
        return None
    file = pathlib.Path(given).expanduser()
    try:
        pem = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{source} names {file}, which cannot be read: {error.strerror}") from None
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ConfigError(f"{source} names {file}, which holds no certificate in PEM form")
    return pem


def profile_file(environ: Mapping[str, str]) -> pathlib.Path:
    """Where profiles are kept."""
    base = environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
    return pathlib.Path(base).expanduser() / "traind" / "config.toml"


def checked_token(token: str, source: str) -> str:
    """A token that can stand in a header; it is never shown, not even when it is wrong."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{source} is no token: it has spaces, line ends or letters that no token has")
    return token


def shown_token(token: str | None) -> str:
    """`trd_ab12cd34_…`: enough to know which one it is."""
    if not token:
        return "none"
    found = _TOKEN.fullmatch(token)
    return f"{found[1]}…" if found else "…"


def read_profiles_text(file: pathlib.Path) -> str:
    """The text of a profile file, empty where there is none. Raises ConfigError where others may read it."""
    try:
        _refuse_readable(file)
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", fix="mend it, or delete it") from None


def read_profiles(environ: Mapping[str, str]) -> dict[str, Any]:
    """Every profile by its name. Raises ConfigError where the file cannot be used."""
    file = profile_file(environ)
    try:
        profiles = tomllib.loads(read_profiles_text(file)).get("profiles", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} cannot be read: {error}", fix="mend it, or delete it") from None
    return profiles if isinstance(profiles, dict) else {}


def _read_profile(named: str, environ: Mapping[str, str], *, needed: bool) -> tuple[Mapping[str, Any], pathlib.Path]:
    profiles, file = read_profiles(environ), profile_file(environ)
    found = profiles.get(named or "default")
    if isinstance(found, dict):
        return found, file
    if named and needed:
        names = ", ".join(sorted(profiles)) or "none"
        raise ConfigError(
            f"there is no profile {named!r} in {file} (there are: {names})",
            fix=f"make it with: traind login --profile {named}",
        )
    return {}, file


def _profile_token(values: Mapping[str, Any], own: str) -> str | None:
    if token := _text(values, "token", own):
        return checked_token(token, f"token of {own}")
    if file := _text(values, "token_file", own):
        return _read_token(file, f"token_file of {own}")
    return None


def _text(values: Mapping[str, Any], key: str, own: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{key} of {own} must be a text", fix=f'write {key} = "..."')
    return value.strip()


def _read_token(path: str, source: str) -> str:
    file = pathlib.Path(path).expanduser()
    try:
        _refuse_readable(file)
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{source} names {file}, which does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} names {file}, which cannot be read: {error}") from None
    return checked_token(text, f"the content of {file}")


def _refuse_readable(file: pathlib.Path) -> None:
    """Refuse a secret that others on this machine can read. Raises FileNotFoundError where there is no file."""
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise ConfigError(f"{file} may be read by others on this machine", fix=f"chmod 600 {file}")
