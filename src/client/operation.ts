import type { Duplex } from 'node:stream'
import { Deadline } from '../stream/deadline.js'
import { guard } from '../stream/handover.js'
import { reset } from '../stream/reset.js'

/** Options of everything that takes time. */
export interface OperationOptions {
  /** Milliseconds for the whole operation, all hops included; 0 is no limit. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/**
 * One operation that may be cut short: its one timer, its abort listener, and the streams to destroy when either
 * fires. Whatever happens first decides; what comes later is dropped.
 */
export class Operation {
  readonly #streams: Duplex[] = []
  readonly #signal: AbortSignal | undefined
  readonly #deadline: Deadline
  readonly #cut: Promise<never>
  #rejectCut: (reason: unknown) => void = () => {}
  // In an object, because a signal may be aborted with any reason, `undefined` included.
  #failure: { readonly reason: unknown } | undefined

  /** `timeoutError` makes the error at the moment the time is up. @throws the signal's reason if it is aborted already. */
  constructor({ timeoutMs, signal }: OperationOptions, timeoutError: () => Error) {
    if (signal?.aborted) throw signal.reason
    this.#signal = signal
    this.#cut = new Promise((_resolve, reject) => {
      this.#rejectCut = reject
    })
    // Nobody may be racing when it is cut short.
    this.#cut.catch(() => {})
    this.#deadline = new Deadline(timeoutMs, () => this.#fail(timeoutError()))
    signal?.addEventListener('abort', this.#onAbort)
  }

  /** Why it was cut short, if it was. */
  get failure(): { readonly reason: unknown } | undefined {
    return this.#failure
  }

  /** Makes a stream die with the operation. */
  own<Stream extends Duplex>(stream: Stream): Stream {
    guard(stream)
    this.#streams.push(stream)
    if (this.#failure !== undefined) reset(stream)
    return stream
  }

  /** Waits for a step, or rejects as soon as the operation is cut short. */
  async race<T>(step: Promise<T>): Promise<T> {
    const value = await Promise.race([this.#cut, step])
    // Both may have settled in one turn.
    if (this.#failure !== undefined) throw this.#failure.reason
    return value
  }

  /** Destroys every stream it owns. */
  destroy(): void {
    for (const stream of this.#streams) stream.destroy()
  }

  /** Takes timer and listener away. Must be called however the operation ends. */
  finish(): void {
    this.#deadline.clear()
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => this.#fail(this.#signal?.reason)

  #fail(reason: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = { reason }
    this.#rejectCut(reason)
    this.finish()
    // A FIN would be a half-close to the proxy, which would go on dialing for us; a reset says that nobody waits.
    for (const stream of this.#streams) reset(stream)
  }
}
