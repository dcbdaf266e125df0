"""Runs scripts of aws___run_script, one at a time, until standard input ends.

Standard input and output carry one JSON object per line.

    in   {"type": "run", "code", "region", "access_key", "secret_key", "token"}
    out  {"type": "authorize", "id", "service", "operation", "region", "params"}   for each call_boto3
    in   {"type": "decision", "id", "allowed", "code", "message"}
    out  {"type": "done", "result": {...}}                                         the structured content

A script sees call_boto3, json, asyncio and a few modules of the standard library that only compute. That keeps
honest scripts within what AWS's sandbox offers; it is not a sandbox against hostile ones.
"""

import ast
import asyncio
import builtins
import datetime
import io
import itertools
import json
import os
import sys
import threading
import traceback

import botocore.credentials
import botocore.exceptions
import botocore.session
from botocore.config import Config
from botocore import xform_name

ENDPOINT = os.environ["ENDPOINT"]
MODULES = {"asyncio", "base64", "collections", "datetime", "functools", "hashlib", "itertools", "json", "math", "operator",
           "re", "statistics", "string", "textwrap", "time", "typing", "uuid"}
NO_BUILTINS = {"open", "input", "breakpoint", "compile", "eval", "exec", "exit", "quit", "help", "globals", "memoryview"}
AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
COROUTINE = 0x80  # inspect.CO_COROUTINE

# The Regions of the standard partition that every account has without opting in.
# https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
DEFAULT_REGIONS = {
    "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
    "ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1",
    "us-east-1", "us-east-2", "us-west-1", "us-west-2",
}


class OperationNotFoundError(Exception):
    """The service has no operation of that name; names are in PascalCase."""


class CallerCredentials(botocore.credentials.Credentials):
    """The credentials of the script that runs now: clients are kept, their callers change."""

    def __init__(self):
        super().__init__("none", "none")

    def get_frozen_credentials(self):
        return botocore.credentials.ReadOnlyCredentials(*self.current)

    current = ("none", "none", None)


CREDENTIALS = CallerCredentials()
SESSION = botocore.session.Session()
SESSION._credentials = CREDENTIALS
CLIENTS = {}
CLIENTS_LOCK = threading.Lock()
OUT_LOCK = threading.Lock()
NUMBERS = itertools.count(1)  # of call_boto3 in this process: calls of one script run at once


def send(message):
    line = json.dumps(message)
    with OUT_LOCK:
        sys.__stdout__.write(line + "\n")
        sys.__stdout__.flush()


def client_for(service, region):
    """Clients may be shared between threads, making them may not."""
    with CLIENTS_LOCK:
        key = (service, region)
        if key not in CLIENTS:
            CLIENTS[key] = SESSION.create_client(
                service, region_name=region, endpoint_url=ENDPOINT,
                config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, inject_host_prefix=False),
            )
        return CLIENTS[key]


def plain(value):
    """What the service's answer is to a script: JSON values only. Bytes are damaged, as in AWS's sandbox."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", errors="replace")
    if hasattr(value, "read"):
        return value.read().decode("utf-8", errors="replace")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


class Run:
    """One script."""

    def __init__(self, request, loop):
        self.request = request
        self.loop = loop
        self.api_calls = []
        self.stdout = io.StringIO()
        self.waiting = {}

    def decide(self, decision):
        """Called from the reading thread."""
        future = self.waiting.pop(decision["id"], None)
        if future is None:  # of a script that ended before its calls did
            return
        self.loop.call_soon_threadsafe(lambda: future.done() or future.set_result(decision))

    async def call_boto3(self, *, service_name, operation_name, region_name=None, params=None):
        region = region_name or self.request["region"]
        call = {"service": service_name, "operation": operation_name, "status": "error", "region": region}
        self.api_calls.append(call)
        number = next(NUMBERS)
        client = await asyncio.to_thread(client_for, service_name, region)
        if operation_name not in client.meta.service_model.operation_names:
            raise OperationNotFoundError(f"Operation '{operation_name}' not found for service '{service_name}'")
        decided = self.loop.create_future()
        self.waiting[number] = decided
        params = dict(params or {})
        send({"type": "authorize", "id": number, "service": service_name, "operation": operation_name, "region": region,
              "params": plain(params)})
        decision = await decided
        if not decision["allowed"]:
            call["error_code"] = decision["code"]
            raise botocore.exceptions.ClientError({"Error": {"Code": decision["code"], "Message": decision["message"]}}, operation_name)
        try:
            answer = await asyncio.to_thread(getattr(client, xform_name(operation_name)), **params)
        except botocore.exceptions.ClientError as error:
            call["error_code"] = error.response.get("Error", {}).get("Code", "")
            raise
        answer = await asyncio.to_thread(plain, answer)
        if (service_name, operation_name) == ("ec2", "DescribeRegions") and not params.get("AllRegions"):
            # moto lists the Regions of every partition, and those that an account would have to opt in to first.
            answer["Regions"] = [r for r in answer["Regions"] if r["RegionName"] in DEFAULT_REGIONS]
        call["request_id"] = answer.get("ResponseMetadata", {}).get("RequestId", "")
        call["status"] = "success"
        call["n_items"] = {key: len(value) for key, value in answer.items() if isinstance(value, list)}
        return answer

    def names(self):
        """The global names of a script, fresh for each."""
        allowed = {name: value for name, value in vars(builtins).items() if name not in NO_BUILTINS}

        def restricted_import(name, globals=None, locals=None, fromlist=(), level=0):
            if level or name.split(".")[0] not in MODULES:
                raise ImportError(f"Import of module '{name}' is not allowed")
            return builtins.__import__(name, globals, locals, fromlist, level)

        def captured_print(*values, sep=" ", end="\n", file=None, flush=False):
            print(*values, sep=sep, end=end, file=self.stdout)

        allowed["__import__"] = restricted_import
        allowed["print"] = captured_print
        return {"__builtins__": allowed, "__name__": "__main__", "call_boto3": self.call_boto3, "json": json, "asyncio": asyncio}

    async def evaluate(self):
        """The value of the last expression, None if the script ends with a statement."""
        tree = ast.parse(self.request["code"], "<script>", "exec")
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        names = self.names()
        await step(compile(tree, "<script>", "exec", AWAIT), names)
        return await step(compile(last, "<script>", "eval", AWAIT), names) if last else None

    async def result(self):
        try:
            value = json.loads(json.dumps(plain(await self.evaluate()), allow_nan=False))
        except Exception as error:
            trace = traceback.TracebackException.from_exception(error)
            own = [frame for frame in trace.stack if frame.filename == "<script>"]
            trace.stack = traceback.StackSummary.from_list(own)
            return {"status": "error", "error": f"{type(error).__name__}: {error}", "api_calls": self.api_calls,
                    "stdout": self.stdout.getvalue(), "stderr": "".join(trace.format(chain=False))}
        return {"status": "success", "return_value": value, "api_calls": self.api_calls, "stdout": self.stdout.getvalue(), "stderr": ""}


async def step(code, names):
    value = eval(code, names)
    return await value if code.co_flags & COROUTINE else value


def read_lines(loop, runs, current):
    """Hands each line to the loop; ends the process when the parent is gone."""
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "decision":
            current["run"].decide(message)
        else:
            loop.call_soon_threadsafe(runs.put_nowait, message)
    os._exit(0)


async def main():
    loop = asyncio.get_running_loop()
    runs = asyncio.Queue()
    current = {}
    threading.Thread(target=read_lines, args=(loop, runs, current), daemon=True).start()
    send({"type": "ready"})
    while True:
        request = await runs.get()
        CREDENTIALS.current = (request["access_key"], request["secret_key"], request["token"])
        current["run"] = Run(request, loop)
        send({"type": "done", "result": await current["run"].result()})


asyncio.run(main())
