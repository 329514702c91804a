import { SocksError } from '../codec/index.js'
import { Deadline } from '../stream/deadline.js'

/** One bounded, abortable piece of work: a signal that aborts when the caller's does or when the time is up. */
export class Operation {
  readonly #controller = new AbortController()
  readonly #deadline: Deadline
  readonly #outer: AbortSignal | undefined
  readonly #onOuterAbort = (): void => this.#controller.abort(this.#outer?.reason)

  /** `timeout` makes the error that the signal aborts with after `timeoutMs` milliseconds; 0 is no limit. */
  constructor(outer: AbortSignal | undefined, timeoutMs: number, timeout: () => SocksError) {
    this.#outer = outer
    this.#deadline = new Deadline(timeoutMs, () => this.#controller.abort(timeout()))
    if (outer?.aborted) this.#onOuterAbort()
    else outer?.addEventListener('abort', this.#onOuterAbort, { once: true })
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Takes timer and listener off. */
  done(): void {
    this.#deadline.clear()
    this.#outer?.removeEventListener('abort', this.#onOuterAbort)
  }
}

/**
 * Waits for a hook no longer than `signal` allows; rejects with the signal's reason. A hook that settles later goes to
 * `discard` (its value) or nowhere (its error): nothing it made is left behind.
 */
export function untilAborted<T>(
  signal: AbortSignal,
  work: () => T | PromiseLike<T>,
  discard?: (late: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    const onValue = (value: T): void => {
      signal.removeEventListener('abort', onAbort)
      if (signal.aborted) discardSafely(value, discard)
      else resolve(value)
    }
    const onError = (error: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      reject(error)
    }
    // An executor turns a synchronous throw of the hook into a rejection.
    new Promise<T>((settle) => settle(work())).then(onValue, onError)
  })
}

/** What nobody waits for any more may fail to end, and there is nobody to tell. */
function discardSafely<T>(value: T, discard: ((late: T) => void) | undefined): void {
  try {
    discard?.(value)
  } catch {}
}

/** A failure of a function that the application supplied; its own error is the `cause`. */
export function hookError(hook: string, cause: unknown, replyCode: number): SocksError {
  return new SocksError('ERR_SOCKS_HOOK_FAILED', `the ${hook} hook failed`, { replyCode, rule: `${hook} hook`, cause })
}
