"""What every long-running process needs: signals, logs, supervised tasks, daemon mode."""
