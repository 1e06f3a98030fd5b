"""A general web server: files, uploads, WSGI applications and topics, as a TOML file says."""
