"""A plain WSGI application (PEP 3333). It does not depend on the server."""

from html import escape


def application(environ, start_response):
    guest = environ["PATH_INFO"].strip("/").encode("latin-1").decode() or "nobody"
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    colour = environ.get("kp.colour", "black")
    return [f'<p style="color: {escape(colour)}">Welcome, {escape(guest)}.</p>\n'.encode()]
