"""What every process needs whatever it does: settings, logs, metrics, retries, signals, plug-ins."""
