/** One timer for many deadlines: it wakes at the earliest one and asks for the next. It does not keep the process alive. */
export class Sweeper {
  readonly #sweep: (now: number) => number | undefined
  #timer: NodeJS.Timeout | undefined

  /** `sweep` does what is due at `now` (of `performance.now()`), and returns when the next is due, if there is one. */
  constructor(sweep: (now: number) => number | undefined) {
    this.#sweep = sweep
  }

  get isArmed(): boolean {
    return this.#timer !== undefined
  }

  /** Sees to it that the sweep runs at `at`. While it is waiting already, that is for something earlier: nothing to do. */
  arm(at: number | undefined): void {
    if (this.#timer !== undefined || at === undefined) return
    // Rounded up: a timer that fires a fraction too early would be set again and again.
    const delay = Math.min(Math.max(Math.ceil(at - performance.now()), 1), 0x7fff_ffff)
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.arm(this.#sweep(performance.now()))
    }, delay).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
