"""What is wrong with a server's certificate, in words: Twisted only says that its verification failed."""

from __future__ import annotations

import socket
import ssl

from radiovis.commands.server_address import ServerAddress


def certificate_complaint(server: ServerAddress, seconds: float) -> str | None:
    """Connect once more, only to see why the certificate was refused; None if it was not. Blocks.

    :param seconds: for the connection, and for the handshake.
    """
    try:
        context = ssl.create_default_context(cafile=server.ca or None)
        with socket.create_connection((server.host, server.port), seconds) as connection:
            context.wrap_socket(connection, server_hostname=server.host).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return None
    return None
