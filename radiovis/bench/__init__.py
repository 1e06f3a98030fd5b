"""``python server.py bench``: what a server can do on this machine, measured from outside."""
