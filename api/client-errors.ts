import { randomUUID } from 'node:crypto';
import { type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { type ErrorCode, ERRORS, OrderPlatformError } from '../domain/errors.ts';
import { problemOf } from './problems.ts';

const PARSER_CODES: Record<string, [ErrorCode, string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'The request took too long to arrive.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['payload_too_large', 'The extensions of a chunk are too large.'],
  HPE_HEADER_OVERFLOW: ['headers_too_large', 'The headers are larger than 128 kB.'],
  HPE_INVALID_HEADER_TOKEN: ['invalid_header', 'A header has a character that it must not have.'],
};

/** Answers as all other errors are answered where Node's parser finds no request, and closes the connection. */
export function answerClientErrors(server: Server, logger: Logger): void {
  const responses = new WeakMap<Duplex, ServerResponse>();
  server.on('request', ({ socket }, response) => void responses.set(socket, response));
  server.on('clientError', (thrown: NodeJS.ErrnoException, socket) => {
    const response = responses.get(socket);
    if (!socket.writable || (response && !isFree(response))) {
      socket.destroy(thrown);
      return;
    }
    const [code, detail] = PARSER_CODES[thrown.code ?? ''] ?? [
      'invalid_request',
      'The request cannot be read.',
    ];
    const begun = response?.req.complete === false ? response : undefined;
    const requestId = String(begun?.getHeader('X-Request-Id') ?? randomUUID());
    const instance = begun?.req.url?.split('?')[0] ?? '/';
    logger.info({ requestId, code, reason: thrown.code }, 'A request cannot be read');
    const { status } = ERRORS[code];
    const body = problemOf(new OrderPlatformError(code, detail), instance, requestId);
    const head = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      `Date: ${new Date().toUTCString()}`,
      `X-Request-Id: ${requestId}`,
      'Content-Type: application/problem+json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
    ];
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
  });
}

/** Whether what is written to the connection now would be taken for the answer to what cannot be read. */
const isFree = ({ req, headersSent, writableFinished }: ServerResponse): boolean =>
  req.complete ? writableFinished : !headersSent;
