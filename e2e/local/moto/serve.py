"""Serves moto on a free port of 127.0.0.1 until standard input ends.

Prints one line of JSON, {"port": N}, when it accepts connections. Lambda functions are kept as records and never
run, so no Docker is looked for.
"""

import json
import logging
import os
import sys
import threading

from moto.core.config import default_user_config

default_user_config["lambda"] = {"use_docker": False}
default_user_config["batch"] = {"use_docker": False}

from moto.iam import models as iam_models  # noqa: E402  the configuration above must come first
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402


class Handler(WSGIRequestHandler):
    """Keeps connections open between requests, as AWS does, and sends an answer in one packet."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True


def end_with_parent():
    """The parent holds the other end of standard input and never writes: end of file means that it is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


# The account of requests that name none, such as an unsigned Cognito sign-in. moto has no setting for it: its
# MOTO_ACCOUNT_ID would take the account of every request, whatever that names.
iam_models.DEFAULT_ACCOUNT_ID = os.environ["DEFAULT_ACCOUNT_ID"]
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=Handler)
os.environ["MOTO_PORT"] = str(server.server_port)
threading.Thread(target=end_with_parent, daemon=True).start()
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
