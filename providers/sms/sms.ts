/** A text message as it leaves: `id` is the same at every attempt, so that a gateway can tell a repetition. */
export interface Sms {
  id: string;
  /** E.164, or the id of a customer who gave no number. */
  to: string;
  text: string;
}

/** The door to an SMS gateway. */
export interface SmsGateway {
  /** How many messages it sends at once. */
  concurrency: number;
  /**
   * Gives up when `tooLate` is aborted. Throws a MessageRefused when it refuses a message for good, and any other error
   * when trying again may help.
   */
  send(message: Sms, tooLate: AbortSignal): Promise<void>;
}
