"""What the nodes share through memcached. Nothing here is needed to work: without it a node only knows less."""
