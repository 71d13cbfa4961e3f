import pTimeout from 'p-timeout';

/** A part the API works with. */
export interface Part {
  name: string;
  /** Whether orders can be taken as long as this part is up, though others are down. */
  takesOrders(): boolean;
  check(): Promise<unknown>;
}

export interface Readiness {
  status: 'ok' | 'degraded' | 'unavailable';
  parts: Record<string, 'ok' | 'down'>;
}

const CHECK_TIMEOUT_MS = 2_000;
const FRESH_MS = 500;

/** Asks every part whether it answers. Asked often, it asks them at most twice a second. */
export function readinessOf(parts: Part[]): () => Promise<Readiness> {
  let known: { at: number; readiness: Promise<Readiness> } | undefined;
  return () => {
    if (!known || Date.now() - known.at > FRESH_MS) known = { at: Date.now(), readiness: askAll(parts) };
    return known.readiness;
  };
}

async function askAll(parts: Part[]): Promise<Readiness> {
  const answers = await Promise.all(parts.map(async (part) => ({ ...part, up: await isUp(part) })));
  const down = answers.filter((part) => !part.up);
  return {
    status:
      down.length === 0
        ? 'ok'
        : answers.some((part) => part.up && part.takesOrders())
          ? 'degraded'
          : 'unavailable',
    parts: Object.fromEntries(answers.map(({ name, up }) => [name, up ? 'ok' : 'down'])),
  };
}

async function isUp(part: Part): Promise<boolean> {
  try {
    return (await pTimeout(part.check(), { milliseconds: CHECK_TIMEOUT_MS })) !== false;
  } catch {
    return false;
  }
}
