import type { Problem } from './schema.ts';

/** An answer that tells what went wrong: `code` is stable, the message is for people. */
export class ProblemError extends Error {
  readonly status: number;
  /** `unexpected_answer` where something between the client and the API answered. */
  readonly code: Problem['code'] | 'unexpected_answer';
  /** What the API says about it, with which fields are wrong in `errors`. */
  readonly problem: Problem | undefined;

  constructor(status: number, problem?: Problem) {
    super(problem ? `${problem.title}: ${problem.detail}` : `An answer ${status} that is not of the API`);
    this.name = 'ProblemError';
    this.status = status;
    this.code = problem?.code ?? 'unexpected_answer';
    this.problem = problem;
  }

  static async of(response: Response): Promise<ProblemError> {
    const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json');
    return new ProblemError(response.status, isProblem ? ((await response.json()) as Problem) : undefined);
  }
}
