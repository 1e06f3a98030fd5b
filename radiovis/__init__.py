"""RadioVIS: pictures and text for radio programmes, on the fanout engine."""
