// The official TypeScript clients, doing the operations of one file through one endpoint.
//
// Prints one JSON line for each operation: its name and either the text that came back or the error. The second argument
// says which client and how it negotiates: `legacy` is what the client package does unasked, `auto` lets it probe for the
// modern revision first, `sdk` is the older package that knows no modern revision. An operation that says `asked` is done
// by a second client, which declares that it can be asked, and answers.
import { readFileSync } from 'node:fs';

const WAIT_MS = 10_000;
const [file, kind] = process.argv.slice(2);
const report = (operation, outcome) => console.log(JSON.stringify({ operation, ...outcome }));
const headers = { Authorization: `Bearer ${process.env.MESHGATE_TOKEN}` };
const identity = { name: 'meshgate-interop', version: '0.1.0' };

const capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} };
/** What the one who is asked says, as `operations.json` expects it. */
const answers = {
  'elicitation/create': ({ params }) =>
    params.mode === 'url' ? { action: 'accept' } : { action: 'accept', content: { name: 'Amara Okonjo-Bell' } },
  'sampling/createMessage': () => ({
    role: 'assistant',
    model: 'interop',
    content: { type: 'text', text: 'In the north.' },
  }),
  'roots/list': () => ({ roots: [{ uri: 'file:///opt/plans', name: 'Plans' }] }),
};

/** A connected client with its revision and its way to hear a notification. */
async function connect(asked) {
  const url = new URL(process.env.MESHGATE_URL);
  const options = asked ? { capabilities } : {};
  const answer = (client, named) => {
    for (const [method, said] of asked ? Object.entries(answers) : []) {
      client.setRequestHandler(named(method), async (request) => said(request));
    }
  };
  if (kind === 'sdk') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const types = await import('@modelcontextprotocol/sdk/types.js');
    const schemas = {
      'notifications/resources/updated': types.ResourceUpdatedNotificationSchema,
      'notifications/resources/list_changed': types.ResourceListChangedNotificationSchema,
      'elicitation/create': types.ElicitRequestSchema,
      'sampling/createMessage': types.CreateMessageRequestSchema,
      'roots/list': types.ListRootsRequestSchema,
    };
    const client = new Client(identity, options);
    answer(client, (method) => schemas[method]);
    const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers } });
    await client.connect(transport);
    const on = (method, heard) => client.setNotificationHandler(schemas[method], heard);
    return { client, on, revision: transport.protocolVersion };
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const negotiation = kind === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {};
  const client = new Client(identity, { ...options, ...negotiation });
  answer(client, (method) => method);
  await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
  const on = (method, heard) => client.setNotificationHandler(method, heard);
  return { client, on, revision: client.getNegotiatedProtocolVersion() };
}

const operations = JSON.parse(readFileSync(file, 'utf8'));
const plain = await connect(false);
const asked = operations.some((operation) => operation.asked) ? await connect(true) : plain;
let { client, on } = plain;
const modern = kind === 'auto';

const call = ({ tool, arguments: given }) => client.callTool({ name: tool, arguments: given });

async function template({ template: name }) {
  const { resourceTemplates } = await client.listResourceTemplates();
  return resourceTemplates.find((listed) => listed.name === name).uriTemplate;
}

/** The address of a listed resource, or what a listed template spells. */
async function uri(operation) {
  if (operation.resource) {
    const { resources } = await client.listResources();
    return resources.find((listed) => listed.name.endsWith(operation.resource)).uri;
  }
  const spelled = Object.entries(operation.variables);
  return spelled.reduce((text, [name, value]) => text.replace(`{${name}}`, value), await template(operation));
}

/** What a notification says that comes within the time, once `act` has run. */
async function hear(method, act) {
  let timer;
  const heard = new Promise((resolve, reject) => {
    on(method, (notification) => resolve(notification.params ?? {}));
    timer = setTimeout(() => reject(new Error(`no ${method} within ${WAIT_MS} ms`)), WAIT_MS);
  });
  try {
    await act();
    return await heard;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `work` while subscribed, in the way of the era. */
async function subscribed(filter, work) {
  if (modern) {
    const subscription = await client.listen(filter);
    const honoured = JSON.stringify(subscription.honoredFilter);
    if (honoured !== JSON.stringify(filter)) throw new Error(`acknowledged: ${honoured}`);
    try {
      return await work();
    } finally {
      await subscription.close();
    }
  }
  const uris = filter.resourceSubscriptions ?? [];
  for (const uri of uris) await client.subscribeResource({ uri });
  const result = await work();
  for (const uri of uris) await client.unsubscribeResource({ uri });
  return result;
}

const does = {
  list: ({ of }) =>
    ({
      tools: () => client.listTools(),
      resources: () => client.listResources(),
      templates: () => client.listResourceTemplates(),
      prompts: () => client.listPrompts(),
    })[of](),
  call,
  get: ({ prompt, arguments: given }) => client.getPrompt({ name: prompt, arguments: given }),
  read: async (operation) => client.readResource({ uri: await uri(operation) }),
  complete: async (operation) => {
    const ref = operation.prompt
      ? { type: 'ref/prompt', name: operation.prompt }
      : { type: 'ref/resource', uri: await template(operation) };
    const context = operation.context ? { context: { arguments: operation.context } } : {};
    return client.complete({ ref, argument: operation.argument, ...context });
  },
  subscribe: async (operation) => {
    const wanted = await uri(operation);
    const told = await subscribed({ resourceSubscriptions: [wanted] }, () =>
      hear('notifications/resources/updated', () => call(operation.trigger)),
    );
    await call(operation.trigger);
    if (told.uri !== wanted) throw new Error(`subscribed to ${wanted}, told of ${told.uri}`);
    return told;
  },
  watch: async (operation) => {
    await subscribed({ resourcesListChanged: true }, () =>
      hear('notifications/resources/list_changed', () => call(operation.trigger)),
    );
    return client.listResources();
  },
};

report('connect', { text: String(plain.revision) });
for (const operation of operations) {
  ({ client, on } = operation.asked ? asked : plain);
  try {
    report(operation.operation, { text: JSON.stringify(await does[operation.do](operation)) });
  } catch (error) {
    report(operation.operation, { error: String(error) });
  }
}
await plain.client.close();
if (asked !== plain) await asked.client.close();
