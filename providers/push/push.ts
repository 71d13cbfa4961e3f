/** A push message as it leaves: `id` is the same at every attempt, so that a device can tell a repetition. */
export interface Push {
  id: string;
  /** Whose devices: the id of a customer, or a device's own token. */
  to: string;
  title: string;
  text: string;
}

/** The door to a push service. */
export interface PushService {
  /** How many messages it sends at once. */
  concurrency: number;
  /**
   * Gives up when `tooLate` is aborted. Throws a MessageRefused when it refuses a message for good, and any other error
   * when trying again may help.
   */
  send(message: Push, tooLate: AbortSignal): Promise<void>;
}
