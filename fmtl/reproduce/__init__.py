"""Published tables: run again over their scenario, and put beside what the paper printed."""
