"""Sweeps: strategies x settings x seeds over one scenario, a folder for each run, one comparison at the end."""
