"""Load tools for developers. They compare the fan-out with the floor and with other servers. They are not installed."""
