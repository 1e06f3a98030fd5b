"""Carries messages between nodes: in one process, or through RabbitMQ."""
