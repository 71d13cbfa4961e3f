/** Something the user can act on: the message is one clear line and is shown without a stack trace. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure';
}

/** One line about whatever was thrown: its first line, and what caused it where that is not said yet. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  if (!(error instanceof Error)) return firstLine(String(error));
  const message = firstLine(error.message || error.name);
  const cause = error instanceof StartFailure || error.cause === undefined ? '' : messageOf(error.cause);
  return cause === '' || message.includes(cause) ? message : `${message.replace(/\.$/, '')}: ${cause}`;
}

/** The `code` of a Node or Postgres error. */
export function codeOf(error: unknown): string | undefined {
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

const firstLine = (text: string): string => text.split('\n')[0] ?? '';
