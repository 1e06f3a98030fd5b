"""The operators' listener: dashboard, JSON interface, metrics."""
