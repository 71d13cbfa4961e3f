/** Who places an order: its workflow, or the API itself, which leaves word for the workflow to start later. */
export type Lane = 'workflow' | 'direct';

export interface Lanes {
  /** The lane of the next order. */
  choose(): Lane;
  /** Counts an order in the workflow's lane for as long as it takes. */
  through<T>(run: () => Promise<T>): Promise<T>;
}

export interface LaneOptions {
  /** So many orders of this process may wait for their workflows before the next ones are placed directly. */
  limit: number;
  isTemporalReachable(): boolean;
  /** Whether orders that were placed directly still wait for their workflows in numbers. */
  isBehind(): boolean;
}

/**
 * Chooses by health and load. Orders are placed directly while Temporal does not answer, and from when too many wait for
 * their workflows until most of those, and the ones that came meanwhile, have been served: so it does not flicker, and
 * nobody overtakes for long.
 */
export function createLanes({ limit, isTemporalReachable, isBehind }: LaneOptions): Lanes {
  let waiting = 0;
  let overloaded = false;
  return {
    choose() {
      if (!isTemporalReachable()) return 'direct';
      overloaded = overloaded ? waiting > limit / 4 || isBehind() : waiting >= limit;
      return overloaded ? 'direct' : 'workflow';
    },
    async through(run) {
      waiting += 1;
      try {
        return await run();
      } finally {
        waiting -= 1;
      }
    },
  };
}
