import type { CarrierProvider } from './carrier/carrier.ts';
import { type Circuit, type CircuitOptions, createCircuit } from './circuit.ts';
import { PaymentInProgress, type PaymentProvider, PaymentRefused } from './payment/provider.ts';

export type CompanyCircuit = Omit<CircuitOptions, 'isFailure'>;

/** The same company behind a circuit breaker of its own. Webhooks are read at any time. */
export function guardPayments(provider: PaymentProvider, options?: CompanyCircuit): PaymentProvider {
  const guarded = guard(provider.name, options);
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
export function guardCarrier(provider: CarrierProvider, options?: CompanyCircuit): CarrierProvider {
  const guarded = guard(provider.name, options);
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

function guard(name: string, options?: CompanyCircuit) {
  const circuit: Circuit = createCircuit(name, {
    ...options,
    isFailure: (error) => !NO_FAILURES.some((kind) => error instanceof kind),
  });
  return async <T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> => {
    try {
      return await circuit.run(async () => {
        try {
          return await call();
        } catch (error) {
          throw signal.aborted ? new CallerGone(undefined, { cause: error }) : error;
        }
      });
    } catch (error) {
      throw error instanceof CallerGone ? error.cause : error;
    }
  };
}
