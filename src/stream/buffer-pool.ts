/** Large read buffers that are lent to sockets while they have much to read. Of all relays of this process together. */
export class BufferPool {
  /** Length of each buffer, in bytes. */
  readonly bufferLength: number
  readonly #maxLent: number
  readonly #maxIdle: number
  readonly #idle: Uint8Array[] = []
  #lent = 0

  /**
   * @param bufferLength bytes of each buffer.
   * @param maxLent how many may be out at a time: a socket that has gone quiet keeps its buffer, so this bounds the memory.
   * @param maxIdle how many wait here to be lent again.
   */
  constructor(bufferLength: number, maxLent: number, maxIdle: number) {
    this.bufferLength = bufferLength
    this.#maxLent = maxLent
    this.#maxIdle = maxIdle
  }

  /** How many are out. */
  get lent(): number {
    return this.#lent
  }

  /** How many wait here. */
  get idle(): number {
    return this.#idle.length
  }

  /** A buffer with whatever it held before; `undefined` when all are out. */
  borrow(): Uint8Array | undefined {
    if (this.#lent >= this.#maxLent) return undefined
    this.#lent++
    return this.#idle.pop() ?? new Uint8Array(this.bufferLength)
  }

  /** Takes a buffer back, to which nobody may write or refer any more. */
  giveBack(buffer: Uint8Array): void {
    this.#lent--
    if (this.#idle.length < this.#maxIdle) this.#idle.push(buffer)
  }

  /** A buffer that was lent is somebody else's for good. */
  writeOff(): void {
    this.#lent--
  }
}
