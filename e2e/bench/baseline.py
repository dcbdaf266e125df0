# The yardstick: the bridge's hop (assume, sign, initialize, call) as a plain Python Lambda handler does it. Credentials,
# the connection and the MCP session of an account are kept between invocations. Unlike the bridge it verifies no user
# token, decides no policy, writes no audit line and merges nothing.
import http.client
import json
import os
from concurrent.futures import ThreadPoolExecutor

import boto3
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = os.environ["AWS_REGION"]
ENDPOINT = os.environ["AWS_MCP_ENDPOINT"]

sts = boto3.client("sts")
pool = urllib3.PoolManager(maxsize=64, ca_certs=os.environ["AWS_CA_BUNDLE"])
credentials = {}  # by account
sessions = {}  # MCP session id by account


def assume(account):
    if account not in credentials:
        got = sts.assume_role(
            RoleArn=f"arn:aws:iam::{account}:role/CentralOpsTargetRole",
            RoleSessionName="central-ops-dev",
            SourceIdentity="alice",
            ExternalId=os.environ["EXTERNAL_ID"],
        )["Credentials"]
        credentials[account] = Credentials(got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])
    return credentials[account]


def post(account, message):
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if account in sessions:
        headers["Mcp-Session-Id"] = sessions[account]
        headers["MCP-Protocol-Version"] = "2025-06-18"
    request = AWSRequest("POST", ENDPOINT, headers=headers, data=json.dumps({"jsonrpc": "2.0", **message}))
    SigV4Auth(assume(account), "aws-mcp", REGION).add_auth(request)
    response = pool.request("POST", ENDPOINT, body=request.data, headers=dict(request.headers))
    if response.status >= 300:
        raise RuntimeError(f"HTTP {response.status}: {response.data[:500]}")
    return response


def initialize(account):
    if account not in sessions:
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "baseline", "version": "1"}}
        response = post(account, {"id": 1, "method": "initialize", "params": params})
        sessions[account] = response.headers["Mcp-Session-Id"]
        post(account, {"method": "notifications/initialized"})


def ask(account, event):
    assume(account)
    initialize(account)
    code = "import json\nask = json.loads(%s)\n" % json.dumps(
        json.dumps({"service": event["service"], "operation": event["operation"], "regions": [REGION], "params": {}})
    )
    arguments = {"name": "aws___run_script", "arguments": {"code": code}, "_meta": {"AWS_REGION": REGION}}
    answer = json.loads(post(account, {"id": 2, "method": "tools/call", "params": arguments}).data)
    result = answer["result"]["structuredContent"]
    if result["status"] != "success":
        raise RuntimeError(result["error"])
    return {"account_id": account, "data": result["return_value"]}


def handler(event):
    with ThreadPoolExecutor(event.get("threads", 1)) as executor:
        if event.get("threads", 1) > 1:
            results = list(executor.map(lambda account: ask(account, event), event["accounts"]))
        else:
            results = [ask(account, event) for account in event["accounts"]]
    return {"ok": True, "coverage": {"targets": len(results), "answered": len(results)}, "results": results}


def serve():
    runtime = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        runtime.request("GET", "/2018-06-01/runtime/invocation/next")
        event = runtime.getresponse()
        request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
        answer = handler(json.loads(event.read()))
        runtime.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", json.dumps(answer))
        runtime.getresponse().read()


serve()
