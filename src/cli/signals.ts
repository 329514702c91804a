/** Calls `close` on the first SIGTERM or SIGINT; resolves when it is done, or at the second signal. */
export function stopOnSignals(close: () => Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false
    const onSignal = (): void => {
      // close() is one operation: the second signal ends the process, and with it what close() still waits for.
      if (isStopping) resolve()
      else void close().then(resolve)
      isStopping = true
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}
