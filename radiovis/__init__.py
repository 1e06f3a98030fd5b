"""RadioVIS: pictures and text beside a radio programme, on the fanout engine."""
