import { createHash, randomUUID } from 'node:crypto';
import type { Request } from 'express';
import type { Db } from '../db/connect.ts';
import { addChunk, discardUpload } from '../db/imports.ts';
import { OrderPlatformError } from '../domain/errors.ts';

/** A file larger than this is to be sent in parts. */
export const MAX_UPLOAD_BYTES = 256 * 1024 * 1024;

const CHUNK_BYTES = 512 * 1024;

export interface Upload {
  id: string;
  sha256: string;
}

/**
 * Keeps the body of a request as it comes, one piece in memory at a time. Where it breaks off, or is too large or empty,
 * nothing of it is left. Throws `payload_too_large`, `invalid_request` and `validation_failed`.
 */
export async function receiveUpload(db: Db, request: Request): Promise<Upload> {
  const tooLarge = () =>
    new OrderPlatformError('payload_too_large', `A file has at most ${MAX_UPLOAD_BYTES} bytes.`);
  if (Number(request.headers['content-length']) > MAX_UPLOAD_BYTES) throw tooLarge();

  const id = randomUUID();
  const hash = createHash('sha256');
  let number = 0;
  let bytes = 0;
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  const store = async () => {
    await addChunk(db, id, number, Buffer.concat(waiting));
    number += 1;
    waiting = [];
    waitingBytes = 0;
  };
  try {
    for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > MAX_UPLOAD_BYTES) throw tooLarge();
      hash.update(piece);
      waiting.push(piece);
      waitingBytes += piece.length;
      if (waitingBytes >= CHUNK_BYTES) await store();
    }
    if (!request.complete) throw new OrderPlatformError('invalid_request', 'The request ended too early.');
    if (bytes === 0) throw new OrderPlatformError('validation_failed', 'The file is empty.');
    if (waitingBytes > 0) await store();
    return { id, sha256: hash.digest('hex') };
  } catch (error) {
    if (number > 0) await discardUpload(db, id);
    if (request.destroyed && !request.complete) {
      throw new OrderPlatformError('invalid_request', 'The request ended before its body did.');
    }
    throw error;
  }
}
