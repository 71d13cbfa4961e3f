import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { codeOf, messageOf, StartFailure } from './failure.ts';

export const host = '127.0.0.1';

const defaults = {
  PORT: 3000,
  POSTGRES_PORT: 54320,
  TEMPORAL_PORT: 7233,
  TEMPORAL_UI_PORT: 8233,
  INBOX_PORT: 1080,
  SMTP_PORT: 1025,
};

export type PortName = keyof typeof defaults;
export type Ports = Record<PortName, number>;

/** Whether the variable is set to something; an empty value counts as unset. */
export function isSet(env: NodeJS.ProcessEnv, name: string): boolean {
  return (env[name] ?? '') !== '';
}

/** The ports of the parts that will be started: no Postgres when `DATABASE_URL` is set, and so on. */
export function portsInUse(env: NodeJS.ProcessEnv): PortName[] {
  return [
    'PORT',
    ...(isSet(env, 'DATABASE_URL') ? [] : (['POSTGRES_PORT'] as const)),
    ...(isSet(env, 'TEMPORAL_ADDRESS') ? [] : (['TEMPORAL_PORT', 'TEMPORAL_UI_PORT'] as const)),
    ...(isSet(env, 'SMTP_URL') ? [] : (['INBOX_PORT', 'SMTP_PORT'] as const)),
  ];
}

/** All ports from the environment, with the contract's defaults. Bad or equal values are a failure that names them. */
export function readPorts(env: NodeJS.ProcessEnv): Ports {
  const used = portsInUse(env);
  const ports: Ports = { ...defaults };
  for (const name of used) ports[name] = readPort(env, name);
  for (const [index, name] of used.entries()) {
    const other = used.slice(0, index).find((earlier) => ports[earlier] === ports[name]);
    if (other)
      throw new StartFailure(`${other} and ${name} are both ${ports[name]}: give one of them another port`);
  }
  return ports;
}

function readPort(env: NodeJS.ProcessEnv, name: PortName): number {
  if (!isSet(env, name)) return defaults[name];
  const text = env[name]?.trim() ?? '';
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new StartFailure(
    `${name} is ${JSON.stringify(env[name])}, which is no port: use a number from 1 to 65535`,
  );
}

/** Fails with one line that names the variable when something already listens on the port. */
export async function assertFree(port: number, variable: string): Promise<void> {
  try {
    await listenOnce(port);
  } catch (error) {
    const why =
      codeOf(error) === 'EADDRINUSE'
        ? 'is already in use'
        : `cannot be used (${codeOf(error) ?? messageOf(error)})`;
    throw new StartFailure(
      `Port ${port} ${why}: set ${variable} to another port, or stop what listens there`,
    );
  }
}

/** A free port for tests, below those that systems give to outgoing connections: none of them takes it meanwhile. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    try {
      await listenOnce(port);
      return port;
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE') throw error;
    }
  }
}

async function listenOnce(port: number): Promise<void> {
  const server = createServer().listen({ host, port, exclusive: true });
  await once(server, 'listening');
  server.close();
  await once(server, 'close');
}
