import { type Logger, pino } from 'pino';

/**
 * The log of a process: JSON lines on standard output, without secrets and personal data. No request waits for its line to
 * be written; what is not written yet when the process ends is written then.
 */
export const createLogger = (level: string, process: string): Logger =>
  pino(
    {
      level,
      base: { process },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: describeError, error: describeError },
    },
    pino.destination({ sync: false }),
  );

/** What helps to find the fault. Other fields stay out: a database error's `detail`, for one, quotes whole rows. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, constraint } = error as { code?: unknown; constraint?: unknown };
  return {
    type: error.constructor.name,
    message: error.message,
    stack: error.stack,
    ...(code !== undefined && { code }),
    ...(constraint !== undefined && { constraint }),
    ...(error.cause instanceof Error && { cause: describeError(error.cause) }),
  };
}
