import {
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleWhen,
  isBrokenCircuitError,
} from 'cockatiel';

/** What is called has failed too often and is left alone for a while. Trying again later may help. */
export class CircuitOpen extends Error {}

export type CircuitPosition = 'open' | 'half_open' | 'closed';

export interface CircuitOptions {
  /** So many failures in a row open the circuit. */
  consecutiveFailures?: number;
  /** How long it stays open before one call tries whether the other side is back. */
  halfOpenAfterMs?: number;
  /** Whether what a call threw says that the other side is down. */
  isFailure: (error: Error) => boolean;
  onStateChange?: (state: CircuitPosition) => void;
}

/** Lets calls through for as long as they work. */
export interface Circuit {
  /** Throws `CircuitOpen` without calling while the circuit is open, or while another call tries. */
  run<T>(call: () => Promise<T>): Promise<T>;
  /** Whether it lets every call through. */
  isClosed(): boolean;
}

const POSITIONS: Partial<Record<CircuitState, CircuitPosition>> = {
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half_open',
  [CircuitState.Closed]: 'closed',
};

export function createCircuit(
  name: string,
  { consecutiveFailures = 20, halfOpenAfterMs = 10_000, isFailure, onStateChange }: CircuitOptions,
): Circuit {
  const policy = circuitBreaker(handleWhen(isFailure), {
    breaker: new ConsecutiveBreaker(consecutiveFailures),
    halfOpenAfter: halfOpenAfterMs,
  });
  policy.onStateChange((state) => {
    const position = POSITIONS[state];
    if (position) onStateChange?.(position);
  });
  const isOpen = () => new CircuitOpen(`The circuit of "${name}" is open.`);
  return {
    isClosed: () => policy.state === CircuitState.Closed,
    async run(call) {
      // cockatiel would let this call wait for the one that is trying, however long that takes.
      if (policy.state === CircuitState.HalfOpen) throw isOpen();
      try {
        return await policy.execute(call);
      } catch (error) {
        throw isBrokenCircuitError(error) ? isOpen() : error;
      }
    },
  };
}
