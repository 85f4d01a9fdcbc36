// The official TypeScript client, doing the operations of one file through one endpoint.
//
// Prints one JSON line for each operation: its name and either the text that came back or the error. The second argument
// is the way of negotiation: `legacy` is what the client does unasked, `auto` probes for the modern revision first.
import { readFileSync } from 'node:fs';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [file, negotiation] = process.argv.slice(2);
const report = (operation, outcome) => console.log(JSON.stringify({ operation, ...outcome }));

async function perform(client, operation) {
  if (operation.list) return client.listTools();
  if (operation.tool) return client.callTool({ name: operation.tool, arguments: operation.arguments });
  if (operation.prompt) return client.getPrompt({ name: operation.prompt });
  const { resources } = await client.listResources();
  const { uri } = resources.find((resource) => resource.name.endsWith(operation.resource));
  return client.readResource({ uri });
}

const options = negotiation === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {};
const client = new Client({ name: 'meshgate-interop', version: '0.1.0' }, options);
const headers = { Authorization: `Bearer ${process.env.MESHGATE_TOKEN}` };
const transport = new StreamableHTTPClientTransport(new URL(process.env.MESHGATE_URL), { requestInit: { headers } });
await client.connect(transport);
report('connect', { text: String(client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion) });
for (const operation of JSON.parse(readFileSync(file, 'utf8'))) {
  try {
    report(operation.operation, { text: JSON.stringify(await perform(client, operation)) });
  } catch (error) {
    report(operation.operation, { error: String(error) });
  }
}
await client.close();
