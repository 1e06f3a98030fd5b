"""Values shared through memcached, and bounded dictionaries."""
