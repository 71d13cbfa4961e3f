const relays = new Set<() => void>();

/** Lets the relay of this process hear that there is something for it to find. Answers with how to hear no more. */
export function onRelayCalled(hear: () => void): () => void {
  relays.add(hear);
  return () => void relays.delete(hear);
}

/** Says that this process has recorded events, or has made deliveries due; the transaction may still be open. */
export function callRelay(): void {
  for (const hear of relays) hear();
}
