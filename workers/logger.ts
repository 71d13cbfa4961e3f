import { type Logger, pino } from 'pino';

/** The log of a process: JSON lines on standard output, without secrets and personal data. */
export const createLogger = (level: string, process: string): Logger =>
  pino({
    level,
    base: { process },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: pino.stdSerializers.err, error: pino.stdSerializers.err },
  });
