"""AWS adapters: every file that speaks to AWS. They implement the ports of other packages; replicator/connect.py connects
them."""
