"""How front-ends hear each other."""
