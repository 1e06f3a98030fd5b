"""A private certificate authority, for tests of TLS."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates, and puts them into files.

    :ivar certificate: path of its own certificate, for those who are to trust it.
    :ivar days: how long what it issues from now on is valid; negative for what has expired.
    """

    def __init__(self, folder: Path, name: str = "Authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._serial = 0
        self.days = 30.0
        made = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None), True)
        self.certificate = self._write(f"{name}.pem", made.public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, *hosts: str) -> Path:
        """A certificate and its key, in one file. Hosts are names or IP addresses."""
        certificate, key = self.pair(*hosts)
        return self._write(file, certificate + key)

    def pair(self, *hosts: str) -> tuple[bytes, bytes]:
        """A certificate and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_host(each) for each in hosts or ("127.0.0.1",)])
        self._serial += 1
        certificate = self._sign(_name(f"Server {self._serial}"), key, names, False)
        form, scheme = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return (
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(serialization.Encoding.PEM, form, scheme),
        )

    def client(self) -> ssl.SSLContext:
        """The clients that trust this authority only."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def _write(self, file: str, data: bytes) -> Path:
        path = self._folder / file
        path.write_bytes(data)
        return path

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType, critical: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        usage = x509.KeyUsage(  # Python 3.13 asks authorities for it.
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=critical,
            crl_sign=critical,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=self.days))
            .add_extension(extension, critical)
            .add_extension(usage, True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(self._key, hashes.SHA256())
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
