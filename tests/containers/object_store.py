"""An object store that speaks S3 and compares signatures: moto's server, in a network of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .network import Network, network

ROOT: Final = Path(__file__).parents[2]
PROGRAMS: Final = ROOT / ".venv-s3" / "bin"
BUCKET: Final = "store-backups"
URL: Final = f"http://127.0.0.1:9000/{BUCKET}/prod"
# The first requests need no key: they make the bucket, the one user who may use it, and that user's key.
_SET_UP: Final = """
import json, sys, time, boto3, botocore.exceptions
where = dict(endpoint_url='http://127.0.0.1:9000', region_name='eu-central-1',
             aws_access_key_id='nobody', aws_secret_access_key='nothing')
iam, name = boto3.client('iam', **where), 'backup'
for turn in range(300):
    try:
        iam.create_user(UserName=name)
        break
    except botocore.exceptions.EndpointConnectionError:
        time.sleep(0.1)
rule = {'Effect': 'Allow', 'Action': 's3:*', 'Resource': '*'}
iam.put_user_policy(UserName=name, PolicyName=name,
                    PolicyDocument=json.dumps({'Version': '2012-10-17', 'Statement': [rule]}))
key = iam.create_access_key(UserName=name)['AccessKey']
boto3.client('s3', **where).create_bucket(
    Bucket=sys.argv[1], CreateBucketConfiguration={'LocationConstraint': 'eu-central-1'})
print(json.dumps([key['AccessKeyId'], key['SecretAccessKey']]))
"""
_KEYS: Final = """
import json, sys, boto3
where = dict(endpoint_url='http://127.0.0.1:9000', region_name='eu-central-1',
             aws_access_key_id=sys.argv[2], aws_secret_access_key=sys.stdin.read())
pages = boto3.client('s3', **where).get_paginator('list_objects_v2').paginate(Bucket=sys.argv[1])
print(json.dumps([found['Key'] for page in pages for found in page.get('Contents', ())]))
"""


@dataclass(frozen=True)
class ObjectStore:
    """A running one: the process whose network it is in, and the one key that opens it."""

    network: Network
    access_key_id: str
    secret_access_key: str

    def names(self) -> list[str]:
        """Return the name of every object."""
        asked = _inside(self.network, [BUCKET, self.access_key_id], _KEYS, self.secret_access_key)
        found: list[str] = json.loads(asked)
        return found


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Serve until the context ends."""
    assert (PROGRAMS / "moto_server").exists(), f"{PROGRAMS} is missing; run `make .venv-s3/.ready`"
    with network() as net, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["nsenter", f"--net={net.path}", PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", "9000"],
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4"}, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield ObjectStore(net, *json.loads(_inside(net, [BUCKET], _SET_UP)))
        finally:
            process.kill()
            process.wait()


def _inside(net: Network, arguments: list[str], code: str, given: str = "") -> str:
    enter = ["nsenter", f"--net={net.path}", str(PROGRAMS / "python"), "-c", code]
    done = subprocess.run([*enter, *arguments], input=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
