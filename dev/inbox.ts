import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type ChildLike, type Launch, startChild, untilReady } from './child.ts';
import { host } from './ports.ts';

export interface InboxOptions extends Launch {
  smtpPort: number;
  webPort: number;
  mailDir: string;
  logFile: string;
}

export interface RunningInbox {
  smtpUrl: string;
  webUrl: string;
  child: ChildLike;
  pid: number;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

const endWithParent = "data:text/javascript,process.once('disconnect',()=>process.exit())";

/** Starts the SMTP inbox (maildev) with its web page. Mail is kept in `mailDir` and shown again after a restart. */
export async function startInbox(options: InboxOptions): Promise<RunningInbox> {
  mkdirSync(options.mailDir, { recursive: true, mode: 0o700 });
  const child = await startChild({
    ...options,
    name: 'Inbox',
    command: process.execPath,
    args: [
      ['--import', endWithParent, createRequire(import.meta.url).resolve('maildev/bin/maildev')],
      ['--smtp', String(options.smtpPort), '--web', String(options.webPort)],
      ['--ip', host, '--web-ip', host, '--mail-directory', options.mailDir],
    ].flat(),
    env: { ...process.env, NODE_OPTIONS: '' },
    ipc: true,
    stopTimeout: 5000,
  });
  const webUrl = `http://${host}:${options.webPort}`;
  await untilReady(child, async () => (await greets(options.smtpPort)) && (await shows(webUrl)));
  return {
    smtpUrl: `smtp://${host}:${options.smtpPort}`,
    webUrl,
    child,
    pid: child.pid,
    stop: () => child.stop(),
    kill: () => child.kill(),
  };
}

async function greets(port: number): Promise<boolean> {
  const socket = connect({ host, port }).on('error', () => undefined);
  try {
    await once(socket, 'data', { signal: AbortSignal.timeout(2000) });
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function shows(webUrl: string): Promise<boolean> {
  try {
    const answer = await fetch(`${webUrl}/healthz`, { signal: AbortSignal.timeout(2000) });
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    return false;
  }
}
