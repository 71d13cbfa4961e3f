import { createConnection, isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createTransport } from 'nodemailer';
import { MessageRefused } from '../message-refused.ts';
import type { Mail, Mailer } from './mailer.ts';

const MAX_CONNECTIONS = 12;
/** So long a server may take to greet, and then to answer a command or to take a mail. */
const GREETING_MS = 6_000;
const SILENCE_MS = 30_000;
/** So long it may take to greet one who only wants to know whether it is there, and how that begins (RFC 5321, 4.2). */
const CHECK_MS = 1_800;
const READY = '220';
/** What a server refuses for good here it refuses this mail; a greeting, a login or a sender refused is about all mail. */
const ABOUT_THE_MAIL = new Set<string | undefined>(['RCPT TO', 'DATA']);

/** A mailer that speaks SMTP with the server at `url` (`smtp://` or `smtps://`, with credentials where needed). */
export function smtpMailer(url: string, from: string): Mailer {
  const { hostname, port, protocol } = new URL(url);
  const domain = from.match(/@([^>\s]+)/)?.[1] ?? 'holdfast.example';
  const transport = createTransport({
    url,
    pool: true,
    maxConnections: MAX_CONNECTIONS,
    maxRequeues: 0,
    connectionTimeout: GREETING_MS,
    greetingTimeout: GREETING_MS,
    socketTimeout: SILENCE_MS,
  });
  return {
    concurrency: MAX_CONNECTIONS,
    async send(mail: Mail, tooLate: AbortSignal) {
      try {
        await transport.sendMail({
          from,
          to: { name: '', address: mail.to },
          subject: mail.subject,
          text: mail.text,
          html: mail.html,
          messageId: `<${mail.id}@${domain}>`,
          headers: { 'Auto-Submitted': 'auto-generated' },
          signal: tooLate,
        });
      } catch (error) {
        const { responseCode, command } = error as { responseCode?: number; command?: string };
        if (responseCode !== undefined && responseCode >= 500 && ABOUT_THE_MAIL.has(command)) {
          throw new MessageRefused(`The mail server refused it (${responseCode}).`, { cause: error });
        }
        throw error;
      }
    },
    check: () =>
      new Promise((resolve) => {
        const secure = protocol === 'smtps:';
        const server = { host: hostname, port: Number(port || (secure ? 465 : 587)), timeout: CHECK_MS };
        const named = isIP(hostname) === 0 ? { servername: hostname } : {};
        const socket = secure ? connectTls({ ...server, ...named }) : createConnection(server);
        const answer = (up: boolean): void => {
          socket.destroy();
          resolve(up);
        };
        socket.once('data', (greeting) => answer(greeting.toString().startsWith(READY)));
        for (const failed of ['error', 'timeout', 'end']) socket.once(failed, () => answer(false));
      }),
    close: () => transport.close(),
  };
}
