/** A part that runs as a process of its own. */
interface Part {
  pid: number;
}

/**
 * Ends the parts when this process ends before they were stopped, as by Ctrl-C: a test run leaves nothing running.
 * Returns a function that lets go of them again.
 */
export function endWithProcess(parts: () => Part[]): () => void {
  const end = (): void => {
    for (const { pid } of parts()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it has ended already
      }
    }
  };
  const endAndExit = (signal: NodeJS.Signals): void => {
    end();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  process.once('exit', end).once('SIGINT', endAndExit).once('SIGTERM', endAndExit);
  return () => process.off('exit', end).off('SIGINT', endAndExit).off('SIGTERM', endAndExit);
}
