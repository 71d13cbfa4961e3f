/** Something the user can act on: the message is one clear line and is shown without a stack trace. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure';
}

/** The first line of whatever was thrown. */
export function messageOf(error: unknown): string {
  const text = error instanceof AggregateError && error.errors.length > 0 ? messageOf(error.errors[0]) : '';
  if (text !== '') return text;
  return (error instanceof Error ? error.message || error.name : String(error)).split('\n')[0] ?? '';
}

/** The `code` of a Node or Postgres error. */
export function codeOf(error: unknown): string | undefined {
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
