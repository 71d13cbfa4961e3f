/** The least a workflow can be. */
export async function bare(): Promise<void> {}
