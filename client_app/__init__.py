"""One participant of a run: its model, tasks, local training, and what it keeps between rounds."""

import json
import os
import sys
from pathlib import Path

if Path(sys.argv[0] if sys.argv else "").name == "flwr-simulation":
    # Flower imports this before it starts Ray, which puts the folder where its driver was started in front of its
    # workers' import path: packages called `client_app` there, as in another checkout, would run in place of the
    # submitted ones. Not with a working directory of the workers' own (docs/decisions/0018).
    _CODE = {"runtime_env": {"working_dir": str(Path(__file__).parents[1])}}
    os.environ.setdefault("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(_CODE))
