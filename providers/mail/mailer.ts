/** A message as it leaves: `id` is the same at every attempt, so that a receiver can tell a repetition. */
export interface Mail {
  id: string;
  to: string;
  subject: string;
  text: string;
  html: string;
}

/** The door to a mail server. */
export interface Mailer {
  /** How many messages it sends at once; more would wait in a queue of its own. */
  concurrency: number;
  /**
   * Hands a message to the mail server, and gives up when `tooLate` is aborted, however steadily the server answers.
   * Throws a MessageRefused when the server refuses it for good (a permanent SMTP reply, RFC 5321 section 4.2.1), and
   * any other error when trying again may help.
   */
  send(mail: Mail, tooLate: AbortSignal): Promise<void>;
  /** Whether the server answers now. */
  check(): Promise<boolean>;
  close(): void;
}
