/**
 * Values on their way to a reader who may be slower than they come. When it is full the oldest goes, as in a socket's own
 * buffer the newest would: late news about a stream of datagrams is worth more than old.
 */
export class MessageQueue<Value extends object> implements AsyncIterableIterator<Value> {
  readonly #maxValues: number
  readonly #onReturn: (queue: MessageQueue<Value>) => void
  readonly #readers: { resolve(result: IteratorResult<Value, undefined>): void; reject(error: unknown): void }[] = []
  #values: Value[] = []
  #end: { error: unknown } | undefined

  /** `onReturn`: the reader has left, by `break` or a throw in its loop. */
  constructor(maxValues: number, onReturn: (queue: MessageQueue<Value>) => void) {
    this.#maxValues = maxValues
    this.#onReturn = onReturn
  }

  /** Hands a value over. `false`: another one had to make room. */
  push(value: Value): boolean {
    const reader = this.#readers.shift()
    if (reader !== undefined) {
      reader.resolve({ value, done: false })
      return true
    }
    this.#values.push(value)
    if (this.#values.length <= this.#maxValues) return true
    this.#values.shift()
    return false
  }

  /** Nothing more will come. The reader gets what is there; then its loop ends, or throws the error, once. */
  end(error: unknown): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    for (const reader of this.#readers.splice(0)) this.#finish().then(reader.resolve, reader.reject)
  }

  async next(): Promise<IteratorResult<Value, undefined>> {
    const value = this.#values.shift()
    if (value !== undefined) return { value, done: false }
    if (this.#end !== undefined) return this.#finish()
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }))
  }

  async return(): Promise<IteratorResult<Value, undefined>> {
    this.#values = []
    this.end(undefined)
    this.#onReturn(this)
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #finish(): Promise<IteratorResult<Value, undefined>> {
    const error = this.#end?.error
    this.#end = { error: undefined }
    if (error !== undefined) throw error
    return { value: undefined, done: true }
  }
}
