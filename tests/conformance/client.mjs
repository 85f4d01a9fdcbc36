// The client of the suite's client half: the official TypeScript client, asked to do what each scenario looks at.
//
// The suite starts it with the address of a server of its own as the last argument; `cargo xtask conformance --client` puts
// the gateway in between. The scenario and its revision come in the environment. A scenario that is not known here gets a
// handshake and a list.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { authorizing } from './conformance-authorize.mjs';

const url = new URL(process.argv.at(-1));
const scenario = process.env.MCP_CONFORMANCE_SCENARIO ?? '';
const modern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === '2026-07-28';
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');

/** A connected client with these capabilities. */
async function connect(capabilities = {}, prepare = () => {}) {
  const options = modern ? { capabilities, versionNegotiation: { mode: 'auto' } } : { capabilities };
  const client = new Client({ name: 'meshgate-conformance', version: '0.1.0' }, options);
  prepare(client);
  const registered = context.client_id && { client_id: context.client_id, client_secret: context.client_secret };
  const transport = scenario.startsWith('auth/') ? { fetch: authorizing(url, registered) } : {};
  await client.connect(new StreamableHTTPClientTransport(url, transport));
  return client;
}

/** A call whose failure is the scenario's business, not this program's. */
const attempt = (client, name, given = {}) =>
  client.callTool({ name, arguments: given }).catch((error) => console.error(`${name}: ${error}`));

async function listed() {
  const client = await connect();
  await client.listTools();
  return client;
}

const scenarios = {
  async tools_call() {
    const client = await listed();
    await client.callTool({ name: 'add_numbers', arguments: { a: 19, b: 23 } });
    return client;
  },
  async 'request-metadata'() {
    const client = await connect({ roots: { listChanged: true }, sampling: {}, elicitation: {} });
    await client.listTools();
    return client;
  },
  async 'elicitation-sep1034-client-defaults'() {
    // `applyDefaults` has the client fill in what the form leaves out.
    const client = await connect({ elicitation: { form: { applyDefaults: true } } }, (client) =>
      client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content: {} })),
    );
    const { tools } = await client.listTools();
    for (const { name } of tools) await attempt(client, name);
    return client;
  },
  async 'sse-retry'() {
    const client = await listed();
    await attempt(client, 'test_reconnection');
    return client;
  },
  async 'sep-2322-client-request-state'() {
    const client = await connect({ elicitation: {} }, (client) =>
      client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content: { confirmed: true } })),
    );
    const { tools } = await client.listTools();
    for (const { name } of tools) await attempt(client, name);
    return client;
  },
  async 'http-standard-headers'() {
    const client = await connect();
    const { tools } = await client.listTools();
    for (const { name } of tools) await client.callTool({ name, arguments: {} });
    const { resources } = await client.listResources();
    for (const { uri } of resources) await client.readResource({ uri });
    const { prompts } = await client.listPrompts();
    for (const { name } of prompts) await client.getPrompt({ name });
    return client;
  },
  async 'http-custom-headers'() {
    const client = await listed();
    for (const { name, arguments: given } of context.toolCalls) await client.callTool({ name, arguments: given });
    return client;
  },
  async 'http-invalid-tool-headers'() {
    const client = await connect();
    const { tools } = await client.listTools();
    for (const { name } of tools) await attempt(client, name, { region: 'north' });
    return client;
  },
  async 'json-schema-2020-12-preservation'() {
    const client = await connect();
    const { tools } = await client.listTools();
    const { inputSchema } = tools.find((tool) => tool.name === 'json_schema_2020_12_tool');
    await client.callTool({ name: 'json_schema_echo', arguments: { schema: inputSchema } });
    return client;
  },
};

/** A server that asks for a token may ask at the handshake, at a list or at a call. */
async function visited() {
  const client = await connect();
  const { tools } = await client.listTools();
  for (const { name } of tools) await attempt(client, name);
  return client;
}

const work = scenario.startsWith('auth/') ? visited : (scenarios[scenario] ?? listed);
const client = await work();
await client.close();
