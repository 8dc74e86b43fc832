"""Writes the configuration of Schemathesis: ids that exist, and which operations may answer 500."""

import json
import sys

document, jobs, executions, asset = sys.argv[1:]
known = {
    "/v1/jobs/{id}": jobs,
    "/v1/ex/{id}": executions,
    "/v1/assets/{id}/bundle": asset,
    "/v1/assets/{id}": "standard",
    "/txt/assets/{id}": "standard",
}


def texts(values):
    return json.dumps([str(value) for value in values])


with open(document, encoding="utf-8") as file:
    paths = json.load(file)["paths"]

for path, methods in paths.items():
    for method, operation in methods.items():
        lines = []
        # As in the original, a job that is wrong is answered 500. No other 5xx is an answer to anything.
        if "500" in operation["responses"]:
            lines.append('checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "500"]')
        ids = next((ids for start, ids in known.items() if path.startswith(start)), None)
        if ids and method != "delete":
            lines.append(f'parameters = {{"path.id" = {texts(ids.split(","))}}}')
        if lines:
            print(f'[[operations]]\ninclude-name = "{method.upper()} {path}"')
            print("\n".join(lines) + "\n")
