import {
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleWhen,
  isBrokenCircuitError,
} from 'cockatiel';
import type { CarrierProvider } from './carrier/carrier.ts';
import { PaymentInProgress, type PaymentProvider, PaymentRefused } from './payment/provider.ts';

/** A company has failed too often and is left alone for a while. Trying again later may help. */
export class CircuitOpen extends Error {}

export interface CircuitOptions {
  /** So many failures in a row open the circuit. */
  consecutiveFailures?: number;
  /** How long it stays open before one call tries whether the company is back. */
  halfOpenAfterMs?: number;
  onStateChange?: (state: 'open' | 'half_open' | 'closed') => void;
}

/** The same company behind a circuit breaker of its own. Webhooks are read at any time. */
export function guardPayments(provider: PaymentProvider, options?: CircuitOptions): PaymentProvider {
  const guarded = circuit(provider.name, options);
  return {
    name: provider.name,
    shared: provider.shared,
    authorize: (request, signal) => guarded(signal, () => provider.authorize(request, signal)),
    capture: (request, signal) => guarded(signal, () => provider.capture(request, signal)),
    void: (request, signal) => guarded(signal, () => provider.void(request, signal)),
    refund: (request, signal) => guarded(signal, () => provider.refund(request, signal)),
    listOpenAuthorizations: (since, signal) =>
      guarded(signal, () => provider.listOpenAuthorizations(since, signal)),
    readWebhook: (headers, body) => provider.readWebhook(headers, body),
  };
}

/** The same carrier behind a circuit breaker of its own. Webhooks are read at any time. */
export function guardCarrier(provider: CarrierProvider, options?: CircuitOptions): CarrierProvider {
  const guarded = circuit(provider.name, options);
  return {
    name: provider.name,
    book: (request, signal) => guarded(signal, () => provider.book(request, signal)),
    cancel: (shipmentId, signal) => guarded(signal, () => provider.cancel(shipmentId, signal)),
    readWebhook: (headers, body) => provider.readWebhook(headers, body),
  };
}

/** What a call threw after its caller had stopped waiting. It says nothing of the company. */
class CallerGone extends Error {}

const NO_FAILURES = [CallerGone, PaymentRefused, PaymentInProgress];

const STATES: Partial<Record<CircuitState, 'open' | 'half_open' | 'closed'>> = {
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half_open',
  [CircuitState.Closed]: 'closed',
};

function circuit(
  name: string,
  { consecutiveFailures = 20, halfOpenAfterMs = 10_000, onStateChange }: CircuitOptions = {},
) {
  const policy = circuitBreaker(
    handleWhen((error) => !NO_FAILURES.some((kind) => error instanceof kind)),
    { breaker: new ConsecutiveBreaker(consecutiveFailures), halfOpenAfter: halfOpenAfterMs },
  );
  policy.onStateChange((state) => {
    const known = STATES[state];
    if (known) onStateChange?.(known);
  });

  return async <T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> => {
    // cockatiel would let this call wait for the one that is trying, however long that takes.
    if (policy.state === CircuitState.HalfOpen) throw new CircuitOpen(`The circuit of "${name}" is open.`);
    try {
      return await policy.execute(async () => {
        try {
          return await call();
        } catch (error) {
          throw signal.aborted ? new CallerGone(undefined, { cause: error }) : error;
        }
      });
    } catch (error) {
      if (error instanceof CallerGone) throw error.cause;
      throw isBrokenCircuitError(error) ? new CircuitOpen(`The circuit of "${name}" is open.`) : error;
    }
  };
}
