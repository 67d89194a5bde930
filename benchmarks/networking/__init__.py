"""Parts of benchmarks/network_round.py: a relay that counts bytes, an empty Flower app, and time stamps of a site."""
