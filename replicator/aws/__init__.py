"""Every file that speaks to AWS. They implement the ports of other packages; replicator/connect.py puts them together."""
