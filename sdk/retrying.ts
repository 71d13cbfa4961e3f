const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 60_000;

/**
 * Sends a request again, up to `retries` times, after a broken connection, a 503 or a 429, and waits as long as
 * `Retry-After` wants. What may have taken effect is only sent again if it has no second one.
 */
export async function fetchWithRetries(
  send: typeof fetch,
  request: Request,
  retries: number,
): Promise<Response> {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await send(request.clone()).catch((error: unknown) => {
      request.signal.throwIfAborted();
      return error as Error;
    });
    const isResponse = answer instanceof Response;
    const isRefused = isResponse && answer.status === 429;
    const isLost = !isResponse || answer.status === 503;
    const again = attempt < retries && (isRefused || (isLost && isRepeatable(request)));
    if (!again) {
      if (isResponse) return answer;
      throw answer;
    }
    const seconds = isResponse ? Number(answer.headers.get('retry-after') ?? Number.NaN) : Number.NaN;
    const backoff = FIRST_WAIT_MS * 2 ** attempt * (0.5 + Math.random());
    const wait = Math.min(Number.isNaN(seconds) ? backoff : seconds * 1000, LONGEST_WAIT_MS);
    await new Promise((resolve) => setTimeout(resolve, wait));
    request.signal.throwIfAborted();
  }
}

const isRepeatable = ({ method, headers }: Request): boolean =>
  ['GET', 'HEAD', 'PUT', 'DELETE'].includes(method) || headers.has('idempotency-key');
