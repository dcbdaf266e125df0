"""Prints requests signed by botocore, as JSON: the vectors that sigv4_test.go verifies.

    python sign.py > botocore.json

The clock is fixed, the credentials are made up.
"""

import datetime
import json
from unittest import mock

import botocore
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.timezone.utc)
CREDENTIALS = Credentials("ASIAVECTOR0000000000", "secret/for+tests", "token//for+tests==")

CASES = [
    ("query protocol form", auth.SigV4Auth, "sts", "us-east-1", "POST", "http://127.0.0.1:4566/",
     {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
     "Action=GetCallerIdentity&Version=2011-06-15"),
    ("json protocol", auth.SigV4Auth, "dynamodb", "eu-west-1", "POST", "http://127.0.0.1:4566/",
     {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.GetItem"},
     '{"TableName":"sessions"}'),
    ("mcp without a content hash header", auth.SigV4Auth, "aws-mcp", "us-east-1", "POST", "http://127.0.0.1:4566/mcp",
     {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Session-Id": "s-1"},
     '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'),
    ("path with a function arn and a query", auth.SigV4Auth, "lambda", "us-east-1", "POST",
     "http://127.0.0.1:4566/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Abridge/invocations?Qualifier=%24LATEST&b=2&a=x%20y&a=A%2FB",
     {}, "{}"),
    ("path with dot and empty segments", auth.SigV4Auth, "execute-api", "us-east-1", "GET",
     "http://127.0.0.1:4566/a/./b/../c//d/", {}, ""),
    ("header with runs of blanks", auth.SigV4Auth, "sts", "us-east-1", "GET",
     "http://127.0.0.1:4566/?Action=GetCallerIdentity", {"X-Note": "two   blanks"}, ""),
    ("s3 key with blanks and plus", auth.S3SigV4Auth, "s3", "us-east-1", "PUT",
     "http://127.0.0.1:4566/bucket/a%20b%2Bc//d.txt", {}, "hello"),
]


def signed(name, signer, service, region, method, url, headers, body):
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    signer(CREDENTIALS, service, region).add_auth(request)
    prepared = request.prepare()
    return {"name": name, "service": service, "region": region, "method": method, "url": prepared.url,
            "headers": {k: v if isinstance(v, str) else v.decode() for k, v in prepared.headers.items()}, "body": body}


with mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None)):
    print(json.dumps({"botocore": botocore.__version__, "requests": [signed(*case) for case in CASES]}, indent=1))
