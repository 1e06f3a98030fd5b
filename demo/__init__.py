"""What ``make demo`` runs: a node by itself, three stations that publish, and a radio that shows what it hears."""
