/** One timer for one operation: fires once or is cleared, whichever comes first. */
export class Deadline {
  #timer: NodeJS.Timeout | undefined

  /** `ms` 0 means no deadline. The timer does not keep the process alive. */
  constructor(ms: number, onExpire: () => void) {
    if (ms <= 0) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      onExpire()
    }, ms).unref()
  }

  /** Starts the time over; harmless when it has fired or was stopped. */
  refresh(): void {
    this.#timer?.refresh()
  }

  /** Stops the timer; harmless when it has fired or was stopped before. */
  clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
