"""TLS of our listeners, and of our own connections to other servers.

:class:`Certificates` is our certificate, read again when its file changes. :class:`TlsFactory` puts TLS in front of a
server; Twisted does the protocol, and the factory adds what it leaves open: failed handshakes, and calls that come too
late. :class:`ListenerWrapper` puts TLS and the PROXY protocol in front of any listener. :func:`trust` and
:func:`secure_endpoint` are for connections that we open.

We speak TLS 1.2 and 1.3, and of 1.2 only what has forward secrecy and authenticated encryption (RFC 9325 §4.2): every
TLS library of the last ten years speaks that. Old clients that cannot do so speak plain STOMP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as NobodyListens
from twisted.internet.error import TimeoutError as NoAnswer
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import (
    AcceptableCiphers,
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.internet.task import LoopingCall
from twisted.internet.tcp import Server
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from fanout.listeners import straight_write
from fanout.listeners.address import Networks
from fanout.listeners.client_limits import SecuritySettings
from fanout.listeners.proxy_protocol import ProxiedFactory
from fanout.settings import SettingsError

LOOK_SECONDS = 2.0
"""Between two looks at the files, which cost nothing. A person who renews a certificate can wait for the line in the
log.
"""
EXPIRES_SOON_SECONDS = 14 * 86_400
"""Seconds before the end of a certificate from which on operators are warned. certbot renews 30 days before the end: so
the renewal has failed for two weeks then, and two weeks are left to repair it.
"""
MAX_SIZE = 1_048_576
"""Octets of a file. A chain with its key takes some thousand, all authorities of a system some hundred thousand."""

_CIPHERS = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")

log = structlog.get_logger(__name__)


class CertificateError(SettingsError):
    """A setting names a file that cannot be used. The text says which, what is wrong, and what to do."""


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """The certificate of our listeners. Connections that stand are not touched when it changes.

    :ivar expires: Unix time at which it is no longer valid.
    :ivar refused: why the files as they are now cannot be used, so that the certificate from before stays in use; empty
        if they can be used.
    :ivar asks_clients: whether clients are asked for a certificate. Browsers may then ask their user for one, so it is
        done only where a login needs it. Clients without one get in as well, and any certificate is taken: the
        application knows which one belongs to a login.
    """

    def __init__(self, certificate: str, key: str, reactor: Any, *, interval: float = LOOK_SECONDS) -> None:
        """
        :param certificate: path of a PEM file: ours first, then those between it and the authority.
        :param key: path of a PEM file: its private key, without a password. May be the same file.
        :param interval: seconds between two looks at the files.
        """
        self._certificate, self._key = Path(certificate), Path(key)
        self._interval = interval
        self._seen: tuple[object, ...] = ()
        self._options: CertificateOptions | None = None
        self._look = LoopingCall(self._reload_if_changed)
        self._look.clock = reactor
        self.expires = 0.0
        self.refused = ""
        self.asks_clients: Callable[[], bool] = _never

    def load(self) -> None:
        """Read the files, at the start.

        :raises CertificateError: they cannot be used; what was in use stays so.
        """
        self._seen = self._signature()
        chain = _certificates(self._certificate)
        options = CertificateOptions(
            **_chain_and_key(self._certificate, self._key),
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableCiphers=_CIPHERS,
        )
        try:
            options.getContext()
        except SSL.Error as error:
            raise CertificateError(f"{self._certificate} cannot be used: {openssl_reason(error)}") from None
        self._options = options
        self.expires = chain[0].not_valid_after_utc.timestamp()
        self.refused = ""

    def reload(self) -> bool:
        """Read the files again, changed or not; whether they could be used. If not, the old ones stay in use."""
        try:
            self.load()
        except CertificateError as error:
            self.refused = str(error)
            log.error("certificate.refused", error=self.refused, kept=self._options is not None)
            return False
        log.info("certificate.loaded", file=str(self._certificate), expires=_iso(self.expires))
        return True

    def problem(self, now: float) -> str:
        """What operators should repair, in words; empty if nothing.

        :param now: Unix time.
        """
        problems = []
        if now >= self.expires:
            problems.append(f"expired at {_iso(self.expires)}")
        elif self.expires - now < EXPIRES_SOON_SECONDS:
            problems.append(f"expires at {_iso(self.expires)}")
        if self.refused:
            problems.append(f"the changed file is not in use: {self.refused}")
        return "; ".join(problems)

    def start(self) -> None:
        """Look at the files from now on, and follow their changes."""
        self._look.start(self._interval, now=False)

    def stop(self) -> None:
        """Look no longer."""
        if self._look.running:
            self._look.stop()

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """For Twisted: a client has come, and gets the certificate of now."""
        assert self._options is not None, "load() comes first"
        connection: SSL.Connection = self._options.serverConnectionForTLS(protocol)
        if self.asks_clients():
            connection.set_verify(SSL.VERIFY_PEER, _take_any)
        return connection

    def _reload_if_changed(self) -> None:
        if self._signature() == self._seen:
            return
        try:
            self.reload()
        except Exception as error:  # No failure of a library on a strange file may end the checks.
            self.refused = f"{self._certificate}: {error}"
            log.exception("certificate.refused", file=str(self._certificate))

    def _signature(self) -> tuple[object, ...]:
        return _signature(self._certificate), _signature(self._key)


def _never() -> bool:
    return False


def _take_any(*_: object) -> bool:
    """For OpenSSL: go on with the handshake, also if no known authority has signed the client's certificate."""
    return True


def trust(authorities: str = "") -> Any:
    """Whom to believe that a server is the one it says.

    :param authorities: path of a PEM file with their certificates; empty for those the system knows.
    :raises CertificateError: it cannot be used.
    """
    if not authorities:
        return platformTrust()
    certificates = _certificates(Path(authorities))
    return trustRootFromCertificates([Certificate(crypto.X509.from_cryptography(each)) for each in certificates])


def authorities(path: Path) -> crypto.X509Store:
    """The authorities in a PEM file, for :func:`is_signed`. :raises CertificateError: it cannot be used."""
    store = crypto.X509Store()
    for each in _certificates(path):
        store.add_cert(crypto.X509.from_cryptography(each))
    return store


def is_signed(certificates: Sequence[bytes], store: crypto.X509Store) -> bool:
    """Whether the first of these certificates is valid now, is for clients, and one of the authorities has signed it.

    :param certificates: as of :func:`client_certificates`.
    """
    try:
        chain = [x509.load_der_x509_certificate(each) for each in certificates]
        own, *between = (crypto.X509.from_cryptography(each) for each in chain)
        crypto.X509StoreContext(store, own, between).verify_certificate()
        purposes = chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except (ValueError, crypto.X509StoreContextError):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in purposes


def secure_endpoint(reactor: Any, host: str, port: int, authorities: str = "", own: str = "") -> Any:
    """A client endpoint with TLS. The server has to prove that it is called ``host``: a name, or an IP address.

    :param authorities: see :func:`trust`.
    :param own: path of a PEM file with our own certificate, those between it and its authority, and its private key;
        empty for none.
    :raises CertificateError: one of the files cannot be used.
    """
    shown = _chain_and_key(Path(own), Path(own)) if own else {}
    options = optionsForClientTLS(host, trustRoot=trust(authorities), extraCertificateOptions=shown)
    return wrapClientTLS(options, HostnameEndpoint(reactor, host, port))


def openssl_reason(error: BaseException) -> str:
    """OpenSSL's own words for what went wrong."""
    errors = error.args[0] if error.args else []
    return str(errors[-1][-1]) if isinstance(errors, list) and errors else str(error) or type(error).__name__


def connect_failure(error: BaseException, seconds: float) -> str:
    """The reason, in a few words; it may hold what a stranger said.

    :param error: what the attempt ended with.
    :param seconds: how long it was given.
    """
    if isinstance(error, DNSLookupError):
        return "no such host"
    if isinstance(error, NobodyListens):
        return "nothing listens there (connection refused)"
    if isinstance(error, NoAnswer):
        return f"no answer within {seconds:g} s"
    if isinstance(error, ConnectError) and error.osError is not None:
        return str(getattr(error.osError, "strerror", None) or error.osError)
    return str(error) or type(error).__name__


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_SIZE:
        raise CertificateError(f"{path} is longer than {MAX_SIZE} octets")
    return data


def _certificates(path: Path) -> Sequence[x509.Certificate]:
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(f"{path} holds no certificate in PEM form (BEGIN CERTIFICATE)") from None


def _key(path: Path, certificate: x509.Certificate, where: Path) -> Any:
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise CertificateError(f"{path} has a password: remove it, and let no other user read the file") from None
    except ValueError:
        raise CertificateError(f"{path} holds no private key in PEM form (BEGIN PRIVATE KEY)") from None
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"the key in {path} does not belong to the first certificate in {where}")
    return key


def _chain_and_key(certificate: Path, key: Path) -> dict[str, Any]:
    """A certificate, those between it and its authority, and its key, as Twisted takes them."""
    chain = _certificates(certificate)
    return {
        "privateKey": crypto.PKey.from_cryptography_key(_key(key, chain[0], certificate)),
        "certificate": crypto.X509.from_cryptography(chain[0]),
        "extraCertChain": [crypto.X509.from_cryptography(each) for each in chain[1:]],
    }


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")


class TlsTransport(BufferingTLSTransport):
    """What a server writes to and reads from; TCP is beneath it. Names with an underscore are Twisted's; it is pinned.

    Closing one side alone does not exist in TLS as Twisted speaks it. ``loseConnection`` does what a server wants
    instead: it says goodbye, reads on, and closes when the client says goodbye as well.
    """

    factory: TlsFactory

    def abortConnection(self) -> None:
        """Close at once. May come after the end, as for TCP; Twisted would fail."""
        if self._tlsConnection is not None:
            super().abortConnection()  # type: ignore[no-untyped-call]

    def write_joined(self, data: bytes) -> None:
        """Write what a whole turn has joined. Twisted would wait for the next turn, in case there is more."""
        if getattr(self._aggregator, "_buffer", ()):
            self.write(data)  # type: ignore[no-untyped-call]  # behind what waits there
        else:
            super().write(data)  # type: ignore[no-untyped-call]

    def _flushSendBIO(self) -> None:
        """What is encrypted goes the short way, too."""
        with contextlib.suppress(SSL.WantReadError):
            straight_write.write(self.transport, self._tlsConnection.bio_read(2**15))

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """What ended it is kept without the place where, which knows it and us: all three would stay in memory."""
        if reason is not None:
            reason.cleanFailure()
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """A client that spoke no TLS, or none that we speak, is a fault worth a line; one that just went is not."""
        failed = self._reason
        if not self._handshakeDone and failed is not None and failed.check(SSL.Error):
            address = getattr(self.wrappedProtocol, "address", "")
            self.factory.warn("tls.refused", address, reason=openssl_reason(failed.value))
        super().connectionLost(reason)
        self._producer = None  # the server's protocol, which refers to us: both would stay in memory, with 28 KiB


class TlsFactory(TLSMemoryBIOFactory):
    """Listens with TLS for a factory that need not know.

    :ivar warn: logs a client's fault: event name, address, fields.
    """

    protocol = TlsTransport

    def __init__(
        self, reactor: Any, certificates: Certificates, wrapped: IProtocolFactory, warn: Callable[..., None]
    ) -> None:
        super().__init__(certificates, False, wrapped, reactor)
        self.warn = warn

    def buildProtocol(self, addr: Any) -> Any:
        """None where the wrapped factory refuses the client; Twisted's would wrap that None."""
        behind = self.wrappedFactory.buildProtocol(addr)
        return None if behind is None else self.protocol(self, behind)


def client_certificates(transport: object) -> tuple[bytes, ...]:
    """The certificates that a client has presented, in DER: its own first; none without TLS, or if it was not asked.

    Nobody has checked whose they are. The client has proved that it has the private key of the first one.
    """
    if not isinstance(transport, TlsTransport):
        return ()
    connection = transport.getHandle()  # type: ignore[no-untyped-call]
    if connection is None:  # it has ended
        return ()
    try:
        own = connection.get_peer_certificate(as_cryptography=True)
        others = connection.get_peer_cert_chain(as_cryptography=True) or ()
    except ValueError:  # OpenSSL reads some certificates that cryptography does not
        return ()
    found = () if own is None else dict.fromkeys((own, *others))  # a server's chain may have its client's or not
    return tuple(each.public_bytes(serialization.Encoding.DER) for each in found)


def beneath(transport: object) -> Server | None:
    """The TCP connection that carries a server's octets; None in tests without a socket."""
    carrier = transport.transport if isinstance(transport, TlsTransport) else transport
    return carrier if isinstance(carrier, Server) else None


class ListenerWrapper:
    """Wraps the factory of a server: first the proxy's header is read, then TLS is spoken, if the operator wants them.

    What is not wanted costs nothing: the server's own factory listens then.

    :ivar settings: they count for listeners made from now on.
    """

    def __init__(
        self,
        reactor: Any,
        settings: SecuritySettings,
        warn: Callable[..., None],
        certificates: Certificates | None = None,
    ) -> None:
        """
        :param warn: logs a client's fault: event name, address, fields.
        :param certificates: loaded; None for no TLS.
        """
        self.settings = settings
        self.certificates = certificates
        self._reactor = reactor
        self._warn = warn

    def plain(self, server: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with."""
        proxies = Networks.parse(self.settings.PROXY_FROM)
        if not proxies:
            return server
        return ProxiedFactory(self._reactor, server, proxies, self._warn)

    def secure(self, server: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with, with TLS. The proxy's header comes before it, in the clear."""
        assert self.certificates is not None, "there is no certificate"
        return self.plain(TlsFactory(self._reactor, self.certificates, server, self._warn))

    def start(self) -> None:
        """Follow the certificate's files."""
        if self.certificates is not None:
            self.certificates.start()

    def reload(self) -> None:
        """Read the certificate again, if there is one; a bad one leaves the old one in use."""
        if self.certificates is not None:
            self.certificates.reload()

    def stop(self) -> None:
        """Look no longer."""
        if self.certificates is not None:
            self.certificates.stop()
