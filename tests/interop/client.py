"""The official Python client and FastMCP's, doing the operations of one file through one endpoint.

Prints one JSON line for each operation: its name and either the text that came back or the error. The second argument
chooses the client: `mcp`, `modern` (the same one, which then knows no handshake) or `fastmcp`. FastMCP's methods that return whole results end in `_mcp`.

An operation that says `asked` is done by a second client, which declares that it can be asked, and answers.
"""

import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    PromptReference,
    ResourceTemplateReference,
    Root,
    TextContent,
)

WAIT_SECONDS = 10
# What the one who is asked says, as `operations.json` expects it.
USER = {"name": "Amara Okonjo-Bell"}
MODEL = "In the north."
ROOT = Root(uri="file:///opt/plans", name="Plans")


def report(operation: str, **outcome: str) -> None:
    print(json.dumps({"operation": operation, **outcome}), flush=True)


async def elicited(context, params) -> ElicitResult:
    return ElicitResult(action="accept", content=None if params.mode == "url" else USER)


async def sampled(context, params) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", model="interop", content=TextContent(type="text", text=MODEL))


async def rooted(context) -> ListRootsResult:
    return ListRootsResult(roots=[ROOT])


@asynccontextmanager
async def official(asked: bool, mode: str = "auto"):
    headers = {"Authorization": f"Bearer {os.environ['MESHGATE_TOKEN']}"}
    answers = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": rooted}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(os.environ["MESHGATE_URL"], http_client=http)
        async with Client(transport, mode=mode, **(answers if asked else {})) as client:
            yield client, ""


def modern(asked: bool):
    return official(asked, mode="2026-07-28")


@asynccontextmanager
async def fastmcp(asked: bool):
    from fastmcp import Client as FastClient

    async def user(message, response_type, params, context):
        return await elicited(context, params)

    answers = {"elicitation_handler": user, "sampling_handler": lambda *_: MODEL, "roots": [ROOT]}
    url, token = os.environ["MESHGATE_URL"], os.environ["MESHGATE_TOKEN"]
    async with FastClient(url, auth=token, **(answers if asked else {})) as client:
        yield client, "_mcp"


class Performer:
    """Does one operation with either client."""

    def __init__(self, client, suffix: str) -> None:
        self.client = client
        self.suffix = suffix

    def ask(self, method: str, *arguments):
        return getattr(self.client, method + self.suffix)(*arguments)

    async def uri(self, operation: dict) -> str:
        """The address of a listed resource, or what a listed template spells."""
        if "resource" in operation:
            listed = (await self.ask("list_resources")).resources
            return str(next(r.uri for r in listed if r.name.endswith(operation["resource"])))
        uri = await self.template(operation)
        for name, value in operation["variables"].items():
            uri = uri.replace("{" + name + "}", value)
        return uri

    async def template(self, operation: dict) -> str:
        listed = (await self.ask("list_resource_templates")).resource_templates
        return next(t.uri_template for t in listed if t.name == operation["template"])

    async def list(self, operation: dict):
        names = {"templates": "resource_templates"}
        return await self.ask("list_" + names.get(operation["of"], operation["of"]))

    async def call(self, operation: dict):
        return await self.ask("call_tool", operation["tool"], operation["arguments"])

    async def get(self, operation: dict):
        return await self.ask("get_prompt", operation["prompt"], operation.get("arguments"))

    async def read(self, operation: dict):
        return await self.ask("read_resource", await self.uri(operation))

    async def complete(self, operation: dict):
        if "prompt" in operation:
            ref = PromptReference(type="ref/prompt", name=operation["prompt"])
        else:
            ref = ResourceTemplateReference(type="ref/resource", uri=await self.template(operation))
        return await self.ask("complete", ref, operation["argument"], operation.get("context"))

    async def subscribe(self, operation: dict):
        uri = await self.uri(operation)
        with anyio.fail_after(WAIT_SECONDS):
            async with self.client.listen(resource_subscriptions=[uri]) as subscription:
                if list(subscription.honored.resource_subscriptions or []) != [uri]:
                    raise RuntimeError(f"acknowledged: {subscription.honored}")
                await self.call(operation["trigger"])
                event = await anext(subscription)
                await self.call(operation["trigger"])
        if str(event.uri) != uri:
            raise RuntimeError(f"subscribed to {uri}, told of {event.uri}")
        return event

    async def watch(self, operation: dict):
        with anyio.fail_after(WAIT_SECONDS):
            async with self.client.listen(resources_list_changed=True) as subscription:
                await self.call(operation["trigger"])
                await anext(subscription)
        return await self.ask("list_resources")


def text(result) -> str:
    return result.model_dump_json(by_alias=True) if hasattr(result, "model_dump_json") else repr(result)


async def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        operations = json.load(file)
    connect = {"mcp": official, "modern": modern, "fastmcp": fastmcp}[sys.argv[2]]
    async with AsyncExitStack() as stack:
        client, suffix = await stack.enter_async_context(connect(asked=False))
        report("connect", text=client.protocol_version)
        plain = asked = Performer(client, suffix)
        if any(operation.get("asked") for operation in operations):
            asked = Performer(*await stack.enter_async_context(connect(asked=True)))
        for operation in operations:
            performer = asked if operation.get("asked") else plain
            try:
                result = await getattr(performer, operation["do"])(operation)
                report(operation["operation"], text=text(result))
            except Exception as error:  # whatever it is, the next operation is tried too
                report(operation["operation"], error=repr(error))


anyio.run(main)
