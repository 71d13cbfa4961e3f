import { expect } from 'vitest';
import type { Answer } from './http.ts';

/** What would tell a stranger how the inside looks: stack frames, paths, SQL, driver errors. */
const LEAK = /\n\s+at |node_modules|\.(ts|js):\d|file:\/\/|SQLSTATE|invalid byte sequence|kysely|ECONN/i;

/** An answer that refuses: `application/problem+json` (RFC 9457) with all of its members, and nothing of the inside. */
export function expectProblem(answer: Answer, status: number, code?: string, pointer?: string): void {
  expect(answer).toMatchObject({
    status,
    body: {
      type: expect.stringMatching(/./),
      title: expect.stringMatching(/./),
      status,
      detail: expect.stringMatching(/./),
      instance: expect.stringMatching(/^\//),
      code: code ?? expect.stringMatching(/^[a-z_]+$/),
      requestId: answer.headers.get('x-request-id'),
    },
  });
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(JSON.stringify(answer.body)).not.toMatch(LEAK);
  if (pointer !== undefined) {
    expect(answer.body.errors).toContainEqual({ pointer, detail: expect.stringMatching(/./) });
  }
}

/** Whatever was sent: an answer below 500, and where it refuses a proper problem. */
export function expectNoFault(answer: Answer): void {
  expect(answer.status).toBeLessThan(500);
  if (answer.status >= 400) expectProblem(answer, answer.status);
}
