import createFetchClient, { type Client as FetchClient } from 'openapi-fetch';
import { ProblemError } from './problem-error.ts';
import { fetchWithRetries } from './retrying.ts';
import type { paths, Tokens } from './schema.ts';

export type * from './schema.ts';
export { ProblemError };

export interface ClientOptions {
  /** Where the API is, for example `http://localhost:3000`. */
  baseUrl: string;
  /** An API key or an access token. `logIn` gets one that is kept fresh. */
  token?: string;
  /** How often a request that got no answer, a 429 or a 503 is sent again; default 4. */
  retries?: number;
  fetch?: typeof fetch;
}

/** `GET`, `POST`, `PUT`, `PATCH` and `DELETE` by path, with the types of the API's description. */
export interface Client extends FetchClient<paths> {
  /** Throws a ProblemError `invalid_credentials`. */
  logIn(email: string, password: string): Promise<void>;
  logOut(): Promise<void>;
  /** Logs in with the new password, and ends all other logins. Throws a ProblemError `invalid_credentials`. */
  changePassword(change: { email: string; password: string; newPassword: string }): Promise<void>;
}

/**
 * A client of the API. Each POST gets an Idempotency-Key where it is given none, and keeps it when it is sent again, so
 * nothing happens twice. An answer that is an error is thrown as a ProblemError.
 */
export function createClient({ baseUrl, token, retries = 4, fetch: send = fetch }: ClientOptions): Client {
  let tokens: Tokens | undefined;
  let renewing: Promise<void> | undefined;

  /** A refresh token works once: whoever comes while it is being used waits for the new ones. */
  const renew = (refreshToken: string): Promise<void> => {
    renewing ??= dataOf(client.POST('/v1/auth/refresh', { body: { refreshToken } }))
      .then((fresh) => void (tokens = fresh))
      .finally(() => (renewing = undefined));
    return renewing;
  };

  const authorized = async (request: Request): Promise<Response> => {
    const isAuthentication = new URL(request.url).pathname.includes('/v1/auth/');
    const bearer = isAuthentication ? undefined : (tokens?.accessToken ?? token);
    if (bearer !== undefined) request.headers.set('authorization', `Bearer ${bearer}`);
    const response = await fetchWithRetries(send, request, retries);
    if (response.status !== 401 || bearer === undefined || !tokens) return response;
    if (tokens.accessToken === bearer) await renew(tokens.refreshToken);
    request.headers.set('authorization', `Bearer ${tokens.accessToken}`);
    return await fetchWithRetries(send, request, retries);
  };

  const client = createFetchClient<paths>({ baseUrl, fetch: authorized });
  client.use({
    onRequest({ request, schemaPath }) {
      const isKeyed = request.method === 'POST' && schemaPath !== '/v1/auth/refresh';
      if (isKeyed && !request.headers.has('idempotency-key'))
        request.headers.set('idempotency-key', crypto.randomUUID());
      return request;
    },
    async onResponse({ response }) {
      if (response.status >= 400) throw await ProblemError.of(response);
    },
  });

  return Object.assign(client, {
    async logIn(email: string, password: string) {
      tokens = await dataOf(client.POST('/v1/auth/login', { body: { email, password } }));
    },
    async logOut() {
      if (tokens) await client.POST('/v1/auth/logout', { body: { refreshToken: tokens.refreshToken } });
      tokens = undefined;
    },
    async changePassword(body: { email: string; password: string; newPassword: string }) {
      tokens = await dataOf(client.POST('/v1/auth/password', { body }));
    },
  });
}

/** What a call answers: `await dataOf(client.GET('/v1/orders'))`. */
export async function dataOf<T>(call: Promise<{ data?: T }>): Promise<Exclude<T, undefined>> {
  return (await call).data as Exclude<T, undefined>;
}
