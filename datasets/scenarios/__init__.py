"""Who takes part with which data: the scenarios (one YAML file each) and what reads them."""
