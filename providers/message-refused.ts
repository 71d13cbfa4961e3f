/** Whoever carries messages will never take this one: a mailbox, a number or a device that is not there. */
export class MessageRefused extends Error {}
