/**
 * Something that may be called off. It costs next to nothing while it is not: an AbortSignal, which takes longer to make
 * than the rest of a handshake's objects together, exists once somebody asks for one.
 */
export class Cancellation {
  #listeners: (() => void)[] | undefined
  #cause: { readonly make: () => unknown } | undefined
  #reason: unknown
  #hasReason = false
  #controller: AbortController | undefined

  get isCancelled(): boolean {
    return this.#cause !== undefined
  }

  /** Why it was called off; `undefined` while it is not. */
  get reason(): unknown {
    if (!this.#hasReason && this.#cause !== undefined) {
      this.#hasReason = true
      this.#reason = this.#cause.make()
    }
    return this.#reason
  }

  /** The same for hooks and everything else that takes a signal. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.isCancelled) this.#controller.abort(this.reason)
    }
    return this.#controller.signal
  }

  /** Calls it off, once. `reason` is asked when somebody wants to know: an error with its stack is dear. */
  cancel(reason: () => unknown): void {
    if (this.#cause !== undefined) return
    this.#cause = { make: reason }
    const listeners = this.#listeners
    this.#listeners = undefined
    if (listeners !== undefined) for (const listener of listeners) listener()
    this.#controller?.abort(this.reason)
  }

  /** Calls `listener` when it is called off; never, when it was before. */
  add(listener: () => void): void {
    // An array that grows takes room for seventeen.
    if (this.#listeners === undefined) this.#listeners = [listener]
    else this.#listeners.push(listener)
  }

  /** Takes a listener off that was added. */
  remove(listener: () => void): void {
    const index = this.#listeners?.indexOf(listener) ?? -1
    if (index !== -1) this.#listeners?.splice(index, 1)
  }
}

/**
 * Waits for a hook no longer than until it is called off; rejects then with the reason. A hook that settles later goes to
 * `discard` (its value) or nowhere (its error): nothing it made is left behind.
 */
export function untilCancelled<T>(
  cancellation: Cancellation,
  work: () => T | PromiseLike<T>,
  discard?: (late: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (cancellation.isCancelled) {
      reject(cancellation.reason)
      return
    }
    const onCancel = (): void => reject(cancellation.reason)
    cancellation.add(onCancel)
    const onValue = (value: T): void => {
      cancellation.remove(onCancel)
      if (cancellation.isCancelled) discardSafely(value, discard)
      else resolve(value)
    }
    const onError = (error: unknown): void => {
      cancellation.remove(onCancel)
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
