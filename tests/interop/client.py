"""The official Python client, doing the operations of one file through one endpoint.

Prints one JSON line for each operation: its name and either the text that came back or the error.
"""

import json
import os
import sys

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


def report(operation: str, **outcome: str) -> None:
    print(json.dumps({"operation": operation, **outcome}), flush=True)


async def perform(client: Client, operation: dict) -> str:
    if "list" in operation:
        result = await client.list_tools()
    elif "tool" in operation:
        result = await client.call_tool(operation["tool"], operation["arguments"])
    elif "prompt" in operation:
        result = await client.get_prompt(operation["prompt"])
    else:
        listed = await client.list_resources()
        uri = next(resource.uri for resource in listed.resources if resource.name.endswith(operation["resource"]))
        result = await client.read_resource(uri)
    return result.model_dump_json(by_alias=True)


async def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        operations = json.load(file)
    headers = {"Authorization": f"Bearer {os.environ['MESHGATE_TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(os.environ["MESHGATE_URL"], http_client=http)
        async with Client(transport) as client:
            report("connect", text=client.protocol_version)
            for operation in operations:
                try:
                    report(operation["operation"], text=await perform(client, operation))
                except Exception as error:  # whatever it is, the next operation is tried too
                    report(operation["operation"], error=repr(error))


anyio.run(main)
