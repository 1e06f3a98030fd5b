"""Health checks, client counts, rates and the text for Prometheus."""
