import { SocksError } from '../codec/index.js'
import { Deadline } from '../stream/deadline.js'
import { Cancellation } from './cancellation.js'

/** One bounded piece of work, called off when its owner is or when the time is up. */
export class Operation extends Cancellation {
  readonly #deadline: Deadline
  readonly #outer: Cancellation | AbortSignal | undefined

  /** `timeout` makes the error that it is called off with after `timeoutMs` milliseconds; 0 is no limit. */
  constructor(outer: Cancellation | AbortSignal | undefined, timeoutMs: number, timeout: () => SocksError) {
    super()
    this.#outer = outer
    this.#deadline = new Deadline(timeoutMs, () => this.cancel(timeout))
    if (outer instanceof Cancellation) {
      if (outer.isCancelled) this.#onOuter()
      else outer.add(this.#onOuter)
    } else if (outer?.aborted) this.#onOuter()
    else outer?.addEventListener('abort', this.#onOuter, { once: true })
  }

  /** Takes timer and listener off. */
  done(): void {
    this.#deadline.clear()
    if (this.#outer instanceof Cancellation) this.#outer.remove(this.#onOuter)
    else this.#outer?.removeEventListener('abort', this.#onOuter)
  }

  readonly #onOuter = (): void => this.cancel(() => this.#outer?.reason)
}

/** A failure of a function that the application supplied; its own error is the `cause`. */
export function hookError(hook: string, cause: unknown, replyCode: number): SocksError {
  return new SocksError('ERR_SOCKS_HOOK_FAILED', `the ${hook} hook failed`, { replyCode, rule: `${hook} hook`, cause })
}
