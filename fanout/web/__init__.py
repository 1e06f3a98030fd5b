"""A web face for anything the engine runs: routes, files, uploads, WSGI applications, and topics as resources.

Twisted's HTTP server does the HTTP; here is what stands between it and a handler.
"""
