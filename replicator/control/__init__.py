"""Control state: checkpoints, backlogs and quarantine, on a small key-value port."""
