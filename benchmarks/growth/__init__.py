"""How cost grows: what a copied event costs and how late it is, against lanes, peers, size, batch and load."""
