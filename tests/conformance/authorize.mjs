// OAuth without a person, for the scenarios in which a server asks its client for a token.
//
// The client must be able to answer when it meets such a server directly; otherwise a scenario that fails behind the gateway
// would say nothing about the gateway. The flow is the SDK's; only the browser is missing, and the suite's authorization
// server redirects at once.
import { auth, computeScopeUnion, extractWWWAuthenticateParams, isStrictScopeSuperset } from '@modelcontextprotocol/client';

const CALLBACK = 'http://localhost:3000/callback';
/** How often one request may be sent again with a better token. */
const ROUNDS = 3;

/** What the SDK asks of the program around it: a place to keep things, and somebody who follows the redirect. */
class Keeper {
  redirectUrl = CALLBACK;
  clientMetadataUrl = 'https://conformance-test.local/client-metadata.json';
  clientMetadata = { client_name: 'meshgate-conformance', redirect_uris: [CALLBACK] };
  #kept = {};

  constructor(registered) {
    this.#kept.client = registered;
  }

  clientInformation = () => this.#kept.client;
  saveClientInformation = (client) => void (this.#kept.client = client);
  tokens = () => this.#kept.tokens;
  saveTokens = (tokens) => void (this.#kept.tokens = tokens);
  codeVerifier = () => this.#kept.verifier;
  saveCodeVerifier = (verifier) => void (this.#kept.verifier = verifier);
  discoveryState = () => this.#kept.discovery;
  saveDiscoveryState = (discovery) => void (this.#kept.discovery = discovery);

  invalidateCredentials(scope) {
    for (const name of scope === 'all' ? Object.keys(this.#kept) : [scope]) delete this.#kept[name];
  }

  async redirectToAuthorization(url) {
    const answer = await fetch(url, { redirect: 'manual' });
    this.callback = new URL(answer.headers.get('location')).searchParams;
  }
}

/** A `fetch` that gets a token when the server asks for one, and a wider one when it says that the scope is too small. */
export function authorizing(serverUrl, registered) {
  const keeper = new Keeper(registered);

  async function answerChallenge(response) {
    const { resourceMetadataUrl, scope: asked } = extractWWWAuthenticateParams(response);
    const granted = keeper.tokens()?.scope;
    const scope = response.status === 403 ? computeScopeUnion(granted, asked) : asked;
    if (response.status === 401) keeper.invalidateCredentials('discovery');
    const known = { serverUrl, resourceMetadataUrl, scope };
    const forceReauthorization = isStrictScopeSuperset(scope, granted);
    if ((await auth(keeper, { ...known, forceReauthorization })) === 'REDIRECT') {
      const { callback } = keeper;
      await auth(keeper, { ...known, authorizationCode: callback.get('code'), iss: callback.get('iss') ?? undefined });
    }
  }

  return async (input, init) => {
    for (let round = 1; ; round += 1) {
      const headers = new Headers(init?.headers);
      const token = keeper.tokens()?.access_token;
      if (token) headers.set('Authorization', `Bearer ${token}`);
      const response = await fetch(input, { ...init, headers });
      if (![401, 403].includes(response.status) || round === ROUNDS) return response;
      await answerChallenge(response);
    }
  };
}
