/** Who places an order: its workflow, or the API itself, which leaves word for the workflow to start later. */
export type Lane = 'workflow' | 'direct';

export interface Lanes {
  /** Runs `take` in the lane of the next order, and counts the order for as long as that takes. */
  enter<T>(take: (lane: Lane) => Promise<T>): Promise<T>;
}

export interface LaneOptions {
  /** So many orders of this process may be under way before the next ones are placed directly. */
  limit: number;
  isTemporalReachable(): boolean;
  /** Whether orders that were placed directly still wait for their workflows in numbers. */
  isBehind(): boolean;
}

/**
 * Chooses by health and load. Orders are placed directly while Temporal does not answer, and from when `limit` of them
 * are under way until a quarter of that is, and those that were placed directly have been served: so it does not
 * flicker, and nobody overtakes for long.
 */
export function createLanes({ limit, isTemporalReachable, isBehind }: LaneOptions): Lanes {
  let underWay = 0;
  let overloaded = false;
  const choose = (): Lane => {
    if (!isTemporalReachable()) return 'direct';
    overloaded = overloaded ? underWay > limit / 4 || isBehind() : underWay >= limit;
    return overloaded ? 'direct' : 'workflow';
  };
  return {
    async enter(take) {
      const lane = choose();
      underWay += 1;
      try {
        return await take(lane);
      } finally {
        underWay -= 1;
      }
    },
  };
}
