"""What people look at with a browser: the wall of all stations, one station, and the operator's dashboard."""
