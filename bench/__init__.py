"""Load tools for developers: how fast the fan-out is, beside the floor and beside other servers. Not installed."""
