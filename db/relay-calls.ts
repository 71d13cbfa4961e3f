const relays = new Set<() => void>();

/** Lets the relay of this process hear that there is something for it to find. */
export const onRelayCalled = (hear: () => void): void => void relays.add(hear);

/** Says that this process has recorded events, or has made deliveries due; the transaction may still be open. */
export function callRelay(): void {
  for (const hear of relays) hear();
}
