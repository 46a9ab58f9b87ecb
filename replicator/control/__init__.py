"""Control state: checkpoints, leases, backlogs and quarantine, on a small key-value port."""
