"""Uses the hub and the cache of tests/hub/python.rs with Python's huggingface_hub.

snapshot ID[@REVISION]     fetches all files; prints the folder
file ID[@REVISION] FILE    fetches a file; prints its path
refused ID[@REVISION]      prints the name of the error
"""

import sys

from huggingface_hub import hf_hub_download, snapshot_download

what, name, *rest = sys.argv[1:]
name, _, revision = name.partition("@")
revision = revision or None
if what == "snapshot":
    print(snapshot_download(name, revision=revision))
elif what == "file":
    print(hf_hub_download(name, rest[0], revision=revision))
else:
    try:
        hf_hub_download(name, "config.json", revision=revision)
    except Exception as error:
        print(type(error).__name__)
