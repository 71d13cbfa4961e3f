import pg from 'pg';

/** A connection to Postgres that listens. It is made anew for as long as Postgres is away. */
export interface Listener {
  /** Hears what is told on a channel from now on. */
  on(channel: string, hear: (payload: string | undefined) => void): void;
  /** Hears that the connection is there, again: what was told meanwhile is lost. */
  onConnected(hear: () => void): void;
  /** Asks Postgres over this connection, which never waits behind other queries. */
  ping(): Promise<boolean>;
  close(): Promise<void>;
}

const RECONNECT_MS = 500;

/** Starts to listen at `databaseUrl`. */
export function startListening(databaseUrl: string, name: string): Listener {
  const channels = new Map<string, (payload: string | undefined) => void>();
  const connected = new Set<() => void>();
  let client: pg.Client | undefined;
  let listening = false;
  let closed = false;
  let retry: NodeJS.Timeout | undefined;

  const listen = async (): Promise<void> => {
    if (closed) return;
    const next = new pg.Client({
      connectionString: databaseUrl,
      application_name: name,
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
    });
    client = next;
    const reconnect = (): void => {
      if (client !== next || closed) return;
      client = undefined;
      listening = false;
      next.end().catch(() => undefined);
      retry = setTimeout(() => void listen(), RECONNECT_MS);
    };
    next.on('error', reconnect);
    next.on('end', reconnect);
    next.on('notification', ({ channel, payload }) => channels.get(channel)?.(payload));
    try {
      await next.connect();
      for (const channel of channels.keys()) await next.query(`listen ${pg.escapeIdentifier(channel)}`);
      listening = true;
      for (const hear of connected) hear();
    } catch {
      reconnect();
    }
  };
  void listen();

  return {
    on(channel, hear) {
      channels.set(channel, hear);
      if (listening) client?.query(`listen ${pg.escapeIdentifier(channel)}`).catch(() => undefined);
    },
    onConnected: (hear) => void connected.add(hear),
    async ping() {
      if (!listening || !client) return false;
      await client.query('select 1');
      return true;
    },
    async close() {
      closed = true;
      clearTimeout(retry);
      await client?.end().catch(() => undefined);
    },
  };
}
