"""The demo of ``make demo``: a stand-alone node, three stations that publish, and a radio that prints the messages."""
