"""The bus: how the nodes of a cluster exchange messages."""
