"""Artcast: time-varying data for art, makers and classrooms. Sources multicast values, clients ask for the next one."""
