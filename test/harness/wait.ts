/** Waits until `probe` gives something truthy, and returns it. Fails with `what` after the deadline. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  seconds = 20,
  everyMs = 50,
): Promise<Exclude<Awaited<T>, undefined | null | false | 0 | ''>> {
  const deadline = Date.now() + seconds * 1000;
  let last: unknown;
  for (;;) {
    try {
      const found = await probe();
      if (found) return found as Exclude<Awaited<T>, undefined | null | false | 0 | ''>;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`Not within ${seconds} s: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
