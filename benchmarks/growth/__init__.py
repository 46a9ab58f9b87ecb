"""Growth of cost: CPU and delay of a copied event, against lanes, peers, size, batch and load."""
