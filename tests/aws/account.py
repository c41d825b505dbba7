"""An account of moto's: importing this makes the environment that of nobody's real one.

What the machine knows of AWS is no business of these scripts, and moto reads the environment as
well: import this before moto."""

import os

REGION = "eu-west-1"

PREFIXES = ("AWS_", "SAGEMAKER_", "EPITOME_")
for variable in [name for name in os.environ if name.startswith(PREFIXES)]:
    del os.environ[variable]
os.environ.update(
    AWS_ACCESS_KEY_ID="local",
    AWS_SECRET_ACCESS_KEY="local",
    AWS_REGION=REGION,
    AWS_DEFAULT_REGION=REGION,
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)
