"""A web server for files, uploads, WSGI applications and topics: ``python -m webserver SITE.toml``."""
