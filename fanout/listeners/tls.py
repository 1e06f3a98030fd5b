"""TLS for our listeners, and for our own connections to other servers.

:class:`Certificates` is our certificate, read again when its file changes. :class:`TlsFactory` puts TLS in front of a
server. Twisted implements the protocol; the factory adds what Twisted does not handle: failed handshakes, and calls
that come too late. :class:`ListenerWrapper` puts TLS and the PROXY protocol in front of any listener. :func:`trust` and
:func:`secure_endpoint` are for connections that we open.

We support TLS 1.2 and 1.3, and for 1.2 only ciphers with forward secrecy and authenticated encryption (RFC 9325 §4.2):
every TLS library of the last ten years supports these. Older clients have to use plain STOMP.
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
"""Seconds between two checks of the files, which cost almost nothing. An operator who renews a certificate can wait for
the line in the log."""
EXPIRES_SOON_SECONDS = 14 * 86_400
"""Seconds before the end of a certificate from which on operators are warned. certbot renews 30 days before the end. So
at this time the renewal has failed for two weeks, and two weeks are left to repair it."""
MAX_SIZE = 1_048_576
"""Largest file in octets. A chain with its key takes some thousand, all authorities of a system some hundred
thousand."""

_CIPHERS = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")

log = structlog.get_logger(__name__)


class CertificateError(SettingsError):
    """A setting names a file that cannot be used. The text names the file, and says what is wrong and what to do."""


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """The certificate of our listeners. A new certificate does not affect established connections.

    :ivar expires: Unix time at which it expires.
    :ivar refused: why the current files cannot be used, so that the previous certificate stays in use; empty if they
        can be used.
    :ivar asks_clients: whether clients are asked for a certificate. Browsers may then ask their user for one, so this
        is only done if a login needs it. Clients without a certificate can connect as well, and any certificate is
        accepted: the application knows which one belongs to a login.
    """

    def __init__(self, certificate: str, key: str, reactor: Any, *, interval: float = LOOK_SECONDS) -> None:
        """
        :param certificate: path of a PEM file: our certificate first, then the intermediate ones.
        :param key: path of a PEM file with its private key, without a password. It may be the same file.
        :param reactor: Twisted's reactor.
        :param interval: seconds between two checks of the files.
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

        :raises CertificateError: they cannot be used; the previous certificate stays in use.
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
        """Read the files again, even if they did not change.

        :return: whether they could be used. If not, the previous certificate stays in use.
        """
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

        :param now: Unix time in seconds.
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
        """Check the files regularly from now on, and load changed ones."""
        self._look.start(self._interval, now=False)

    def stop(self) -> None:
        """Stop checking the files."""
        if self._look.running:
            self._look.stop()

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Called by Twisted for each new client, which gets the current certificate."""
        assert self._options is not None, "load() must be called first"
        connection: SSL.Connection = self._options.serverConnectionForTLS(protocol)
        if self.asks_clients():
            connection.set_verify(SSL.VERIFY_PEER, _take_any)
        return connection

    def _reload_if_changed(self) -> None:
        if self._signature() == self._seen:
            return
        try:
            self.reload()
        except Exception as error:  # An unexpected error in a library must not end the checks.
            self.refused = f"{self._certificate}: {error}"
            log.exception("certificate.refused", file=str(self._certificate))

    def _signature(self) -> tuple[object, ...]:
        return _signature(self._certificate), _signature(self._key)


def _never() -> bool:
    return False


def _take_any(*_: object) -> bool:
    """Called by OpenSSL: continue the handshake, even if no known authority has signed the client's certificate."""
    return True


def trust(authorities: str = "") -> Any:
    """The authorities that we trust to sign the certificates of servers.

    :param authorities: path of a PEM file with their certificates; empty for those of the system.
    :raises CertificateError: the file cannot be used.
    """
    if not authorities:
        return platformTrust()
    certificates = _certificates(Path(authorities))
    return trustRootFromCertificates([Certificate(crypto.X509.from_cryptography(each)) for each in certificates])


def authorities(path: Path) -> crypto.X509Store:
    """The authorities in a PEM file, for :func:`is_signed`.

    :raises CertificateError: the file cannot be used.
    """
    store = crypto.X509Store()
    for each in _certificates(path):
        store.add_cert(crypto.X509.from_cryptography(each))
    return store


def is_signed(certificates: Sequence[bytes], store: crypto.X509Store) -> bool:
    """Whether the first of these certificates is valid now, is for clients, and is signed by one of the authorities.

    :param certificates: in the form of :func:`client_certificates`.
    :param store: the authorities.
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
    """A client endpoint with TLS. The server has to prove that its name is ``host``: a host name, or an IP address.

    :param authorities: see :func:`trust`.
    :param own: path of a PEM file with our own certificate, the intermediate ones, and its private key; empty for none.
    :raises CertificateError: one of the files cannot be used.
    """
    shown = _chain_and_key(Path(own), Path(own)) if own else {}
    options = optionsForClientTLS(host, trustRoot=trust(authorities), extraCertificateOptions=shown)
    return wrapClientTLS(options, HostnameEndpoint(reactor, host, port))


def openssl_reason(error: BaseException) -> str:
    """The reason of an error in OpenSSL's words."""
    errors = error.args[0] if error.args else []
    return str(errors[-1][-1]) if isinstance(errors, list) and errors else str(error) or type(error).__name__


def connect_failure(error: BaseException, seconds: float) -> str:
    """The reason why a connection failed, in a few words. It may contain text from the other side.

    :param error: the error of the attempt.
    :param seconds: time limit of the attempt.
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
        raise CertificateError(f"{path} does not contain a certificate in PEM form (BEGIN CERTIFICATE)") from None


def _key(path: Path, certificate: x509.Certificate, where: Path) -> Any:
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise CertificateError(f"{path} has a password: remove it, and let only this user read the file") from None
    except ValueError:
        raise CertificateError(f"{path} does not contain a private key in PEM form (BEGIN PRIVATE KEY)") from None
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"the key in {path} does not belong to the first certificate in {where}")
    return key


def _chain_and_key(certificate: Path, key: Path) -> dict[str, Any]:
    """A certificate, the intermediate ones, and its key, in the form that Twisted needs."""
    chain = _certificates(certificate)
    return {
        "privateKey": crypto.PKey.from_cryptography_key(_key(key, chain[0], certificate)),
        "certificate": crypto.X509.from_cryptography(chain[0]),
        "extraCertChain": [crypto.X509.from_cryptography(each) for each in chain[1:]],
    }


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")


class TlsTransport(BufferingTLSTransport):
    """The transport of a server with TLS; TCP is beneath it. Names with an underscore are Twisted's; its version is
    pinned.

    TLS, as Twisted implements it, cannot close one direction alone. ``loseConnection`` does what a server needs
    instead: it sends a close alert, continues to read, and closes when the client has sent a close alert as well.
    """

    factory: TlsFactory

    def abortConnection(self) -> None:
        """Close at once. It may be called after the end, as with TCP; Twisted's own method would fail."""
        if self._tlsConnection is not None:
            super().abortConnection()  # type: ignore[no-untyped-call]

    def write_joined(self, data: bytes) -> None:
        """Write the joined octets of a turn. Twisted's ``write`` would wait for the next turn, because there might be
        more.
        """
        if getattr(self._aggregator, "_buffer", ()):
            self.write(data)  # type: ignore[no-untyped-call] # after the octets that wait there
        else:
            super().write(data)  # type: ignore[no-untyped-call]

    def _flushSendBIO(self) -> None:
        """Write encrypted octets directly to the socket, too."""
        with contextlib.suppress(SSL.WantReadError):
            straight_write.write(self.transport, self._tlsConnection.bio_read(2**15))

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """Keep the reason of the end without its traceback, which refers to the reason and to us: all three would stay
        in memory.
        """
        if reason is not None:
            reason.cleanFailure()
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Log a client that did not use TLS, or no version of it that we support. A client that just disconnects is not
        logged.
        """
        failed = self._reason
        if not self._handshakeDone and failed is not None and failed.check(SSL.Error):
            address = getattr(self.wrappedProtocol, "address", "")
            self.factory.warn("tls.refused", address, reason=openssl_reason(failed.value))
        super().connectionLost(reason)
        self._producer = None  # the server's protocol, which refers to us: both would stay in memory, with 28 KiB


class TlsFactory(TLSMemoryBIOFactory):
    """Listens with TLS for a factory that does not need to know about it.

    :ivar warn: logs a client's fault: event name, address, fields.
    """

    protocol = TlsTransport

    def __init__(
        self, reactor: Any, certificates: Certificates, wrapped: IProtocolFactory, warn: Callable[..., None]
    ) -> None:
        super().__init__(certificates, False, wrapped, reactor)
        self.warn = warn

    def buildProtocol(self, addr: Any) -> Any:
        """Build the protocol; None if the wrapped factory refuses the client. Twisted's method would wrap that None."""
        behind = self.wrappedFactory.buildProtocol(addr)
        return None if behind is None else self.protocol(self, behind)


def client_certificates(transport: object) -> tuple[bytes, ...]:
    """The certificates that a client has presented, in DER, its own first; empty without TLS, or if it was not asked.

    They are not verified. The client has proved that it has the private key of the first one.
    """
    if not isinstance(transport, TlsTransport):
        return ()
    connection = transport.getHandle()  # type: ignore[no-untyped-call]
    if connection is None:  # the connection has ended
        return ()
    try:
        own = connection.get_peer_certificate(as_cryptography=True)
        others = connection.get_peer_cert_chain(as_cryptography=True) or ()
    except ValueError:  # OpenSSL accepts some certificates that cryptography does not
        return ()
    found = () if own is None else dict.fromkeys((own, *others))  # the chain may contain the own certificate or not
    return tuple(each.public_bytes(serialization.Encoding.DER) for each in found)


def beneath(transport: object) -> Server | None:
    """The TCP connection that carries a server's octets; None in tests without a socket."""
    carrier = transport.transport if isinstance(transport, TlsTransport) else transport
    return carrier if isinstance(carrier, Server) else None


class ListenerWrapper:
    """Wraps the factory of a server: first the proxy's header is read, then TLS is used, if the operator wants them.

    A feature that is turned off costs nothing: the server's own factory listens then.

    :ivar settings: the settings for listeners that are made from now on.
    """

    def __init__(
        self,
        reactor: Any,
        settings: SecuritySettings,
        warn: Callable[..., None],
        certificates: Certificates | None = None,
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param settings: TLS and proxies.
        :param warn: logs a client's fault: event name, address, fields.
        :param certificates: loaded; None for no TLS.
        """
        self.settings = settings
        self.certificates = certificates
        self._reactor = reactor
        self._warn = warn

    def plain(self, server: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with, without TLS."""
        proxies = Networks.parse(self.settings.PROXY_FROM)
        if not proxies:
            return server
        return ProxiedFactory(self._reactor, server, proxies, self._warn)

    def secure(self, server: IProtocolFactory) -> IProtocolFactory:
        """A factory to listen with, with TLS. The proxy's header comes before TLS, in plain text."""
        assert self.certificates is not None, "there is no certificate"
        return self.plain(TlsFactory(self._reactor, self.certificates, server, self._warn))

    def start(self) -> None:
        """Check the certificate's files regularly."""
        if self.certificates is not None:
            self.certificates.start()

    def reload(self) -> None:
        """Read the certificate again, if there is one; if the new one is invalid, the previous one stays in use."""
        if self.certificates is not None:
            self.certificates.reload()

    def stop(self) -> None:
        """Stop checking the certificate's files."""
        if self.certificates is not None:
            self.certificates.stop()
