"""Real clients on separate machines: keys and certificates, the coordinator, sites.

Whatever an administrator can put right is a `NetworkSetupError` everywhere in this package, so docstrings name only
what makes it and other errors.
"""
