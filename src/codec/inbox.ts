import { assertBytes } from './arguments.js'
import { SocksError } from './errors.js'

const NOTHING: Uint8Array = new Uint8Array(0)

/**
 * Bytes received and not yet understood. A message that arrived whole is read as a view of its chunk;
 * only one that straddles chunks is copied.
 */
export class Inbox {
  readonly #limit: number
  #chunks: Uint8Array[] = []
  #length = 0

  /** `limit`: how many bytes may wait before a further chunk is refused. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Bytes waiting. */
  get length(): number {
    return this.#length
  }

  /**
   * Stores a chunk. The bound is on what waited *before* it: a chunk in hand is memory already spent, but a
   * caller that keeps pushing what nobody reads is stopped.
   * @throws SocksError `ERR_SOCKS_RECEIVE_OVERFLOW`, storing nothing; TypeError for what is no bytes.
   */
  push(chunk: Uint8Array): void {
    assertBytes(chunk, 'chunk')
    if (chunk.length === 0) return
    if (this.#length >= this.#limit) {
      throw new SocksError('ERR_SOCKS_RECEIVE_OVERFLOW', `more than ${this.#limit} bytes wait to be read`)
    }
    // An array that grows takes room for seventeen.
    if (this.#chunks.length === 0) this.#chunks = [chunk]
    else this.#chunks.push(chunk)
    this.#length += chunk.length
  }

  /** All waiting bytes in one piece, which stays valid until the next call that changes the inbox. */
  peek(): Uint8Array {
    const [first] = this.#chunks
    if (first === undefined) return NOTHING
    if (this.#chunks.length === 1) return first
    const joined = new Uint8Array(this.#length)
    let offset = 0
    for (const chunk of this.#chunks) {
      joined.set(chunk, offset)
      offset += chunk.length
    }
    this.#chunks = [joined]
    return joined
  }

  /** Drops the first `count` waiting bytes. */
  consume(count: number): void {
    const rest = this.peek().subarray(count)
    this.#chunks = rest.length === 0 ? [] : [rest]
    this.#length = rest.length
  }

  /** Takes everything out. */
  take(): Uint8Array {
    const all = this.peek()
    this.consume(all.length)
    return all
  }

  /** Puts bytes back in front of those that wait. Not bounded: they were here before. */
  unshift(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#chunks.unshift(bytes)
    this.#length += bytes.length
  }
}
