"""The interface between the servers and the application they serve."""
