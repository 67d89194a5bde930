"""Real clients on separate machines: keys and certificates, the coordinator, sites."""
