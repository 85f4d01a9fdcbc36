"""A scripted MCP server on stdio: writes every line it reads to a record and says what its script says."""
import json
import sys
import threading
import time

script = json.load(open(sys.argv[1], encoding="utf-8"))
record = open(sys.argv[2], "a", encoding="utf-8", newline="")
seen = []
changed = threading.Condition()
output = threading.Lock()


def say(line):
    with output:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def play(steps, message):
    params = message.get("params") or {}
    token = json.dumps((params.get("_meta") or {}).get("progressToken"))
    for step in steps:
        if isinstance(step, str):
            say(step.replace("$ID", json.dumps(message.get("id"))).replace("$TOKEN", token))
        elif "wait_ms" in step:
            time.sleep(step["wait_ms"] / 1000)
        elif "until" in step:
            with changed:
                changed.wait_for(lambda: any(step["until"] in line for line in seen), timeout=10)
        elif "exit" in step:
            import os

            os._exit(step["exit"])


for line in sys.stdin:
    line = line.rstrip("\n")
    record.write(line + "\n")
    record.flush()
    with changed:
        seen.append(line)
        changed.notify_all()
    message = json.loads(line)
    method = message.get("method")
    if method is None:
        continue
    params = message.get("params") or {}
    target = params.get("name") or params.get("uri")
    steps = script.get(f"{method} {target}") or script.get(method)
    if steps is None and "id" in message:
        steps = ['{"jsonrpc":"2.0","id":$ID,"error":{"code":-32601,"message":"method not found"}}']
    if steps:
        threading.Thread(target=play, args=(steps, message), daemon=True).start()
