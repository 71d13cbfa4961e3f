import { parseArgs } from 'node:util';
import { messageOf, StartFailure } from './failure.ts';

export interface Arguments {
  fresh: boolean;
  watch: boolean;
  help: boolean;
}

export const usage = `Runs the whole platform on this machine.

  npm start                 Postgres, Temporal, inbox, worker and API; data in .data/
  npm start -- --fresh      the same, after deleting the data
  npm run dev               the same, restarting worker and API when their code changes

Ports:     PORT, POSTGRES_PORT, TEMPORAL_PORT, TEMPORAL_UI_PORT, INBOX_PORT, SMTP_PORT
Data:      DATA_DIR
Own parts: DATABASE_URL, TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, SMTP_URL (set one and that part is not started)`;

/** Reads the command line; an unknown option is a failure of one line. */
export function readArguments(args: string[]): Arguments {
  const flag = { type: 'boolean', default: false } as const;
  try {
    return parseArgs({ args, options: { fresh: flag, watch: flag, help: { ...flag, short: 'h' } } }).values;
  } catch (error) {
    throw new StartFailure(`${messageOf(error).split('. ')[0]}: see npm start -- --help`);
  }
}
