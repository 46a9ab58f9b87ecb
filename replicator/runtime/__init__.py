"""Runtime parts that every process needs: settings, logs, metrics, retries, signals, plug-ins."""
