"""Reading run folders and comparing runs: tables, Markdown and curves."""
