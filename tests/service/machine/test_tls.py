"""Certificate and key are tried before a port is opened; what is wrong is told by the variable that names it."""

import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from service.machine.tls import load_tls
from service.settings import SettingError, Settings
from tests.certificates import Authority, private


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def settings(folder, certificate, key):
    named = {"TRAIND_TLS_CERT": certificate, "TRAIND_TLS_KEY": key}
    return Settings.from_env(
        {"TRAIND_DATA_DIR": str(folder)} | {name: str(path) for name, path in named.items() if path}
    )


def test_without_files_there_is_no_tls(tmp_path):
    assert load_tls(settings(tmp_path, None, None)) is None


def test_files_that_fit_are_taken_and_never_shown(authority, tmp_path):
    tls = load_tls(settings(tmp_path, *authority.issue("server")))
    assert tls.certificate.startswith(b"-----BEGIN CERTIFICATE-----")
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert repr(tls) == "Tls()"


@pytest.mark.parametrize(("given", "lacking"), [("CERT", "KEY"), ("KEY", "CERT")])
def test_one_file_alone_is_refused(authority, tmp_path, given, lacking):
    certificate, key = authority.issue("server")
    with pytest.raises(SettingError, match=f"TRAIND_TLS_{given} is set and TRAIND_TLS_{lacking} is not"):
        settings(tmp_path, *((certificate, None) if given == "CERT" else (None, key)))


@pytest.mark.parametrize("variable", ["CERT", "KEY"])
def test_a_file_that_is_not_there_is_named(authority, tmp_path, variable):
    certificate, key = authority.issue("server")
    gone = certificate if variable == "CERT" else key
    gone.unlink()
    with pytest.raises(SettingError, match=f"TRAIND_TLS_{variable}: .*{gone.name} cannot be read"):
        load_tls(settings(tmp_path, certificate, key))


def test_a_key_of_another_certificate_is_refused(authority, tmp_path):
    certificate, _ = authority.issue("server")
    _, other = authority.issue("other")
    with pytest.raises(SettingError, match=r"TRAIND_TLS_KEY: .*other\.key is not the key of the certificate"):
        load_tls(settings(tmp_path, certificate, other))


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_what_is_no_pem_is_refused(authority, tmp_path, which):
    certificate, key = authority.issue("server")
    (certificate if which == "certificate" else key).write_text("hello\n")
    with pytest.raises(SettingError, match="no certificate and key in PEM form"):
        load_tls(settings(tmp_path, certificate, key))


def test_a_key_with_a_password_is_refused_at_once_instead_of_asking_for_it(authority, tmp_path):
    certificate, key = authority.issue("server")
    key.write_bytes(private(ec.generate_private_key(ec.SECP256R1()), password=b"secret"))
    with pytest.raises(SettingError, match="is encrypted"):
        load_tls(settings(tmp_path, certificate, key))
