import type { OnReadOpts, Socket } from 'node:net'
import { BufferPool } from './buffer-pool.js'

// Room for a short answer and for what keeps a quiet tunnel alive. More is memory of every idle tunnel.
const SMALL = 512
// What Node itself would take for each read; kept only as long as reads fill it.
const MEDIUM = 16_384
// In one read as much as a receive buffer commonly holds: fewer calls of everything. 512 KiB were no faster.
const LARGE = 262_144
// At most 32 MiB of large buffers in use, and 4 MiB at rest. Beside them a tunnel whose client does not read may hold one.
const POOL = new BufferPool(LARGE, 128, 16)
// So many reads in a row that would have fitted a small buffer, or nearly, and the large one is given back.
const PATIENCE = 32

/** Takes what was read. */
export interface Receiver {
  /** Must have handed all of it on when it returns `'done'`. */
  onRead(chunk: Uint8Array): Delivery
}

/**
 * What has become of a chunk. `done`: the system has all of it, and its memory may be written to again. `kept`: somebody
 * still refers to it. `full`: likewise, and no more is wanted before `resume()`.
 */
export type Delivery = 'done' | 'kept' | 'full'

/**
 * Reads a socket into memory that is used again, by Node's `onread`, which only sockets that we dial ourselves can have.
 *
 * For every read Node would ask the system for 64 KiB and leave it to the garbage collector. A download through one
 * buffer that grows to 256 KiB costs a quarter to a half of that (`node bench/relay.mjs --modes bulk-down`, with and
 * without `fastRelay`). What makes it safe is the answer to one question, asked after each write: has the system taken
 * everything? Then nobody refers to the buffer. If not, it is left to those who do, and the next read gets another one.
 */
export class ReusedReader {
  /** For `net.connect`. */
  readonly onread: OnReadOpts
  #buffer: Uint8Array = smallBuffer()
  #socket: Socket | undefined
  #receiver: Receiver | undefined
  // Read before anybody wanted it.
  #early: Uint8Array | undefined
  #smallReads = 0
  #isUsed = false

  constructor() {
    this.onread = { buffer: () => this.#buffer, callback: (length) => this.#onRead(length) }
  }

  /** Whether a socket was made with it. */
  get isUsed(): boolean {
    return this.#isUsed
  }

  /** Large buffers in use and at rest, of this process. */
  static get pool(): { readonly lent: number; readonly idle: number } {
    return POOL
  }

  /** A socket is made with `onread`; of several, one after the other, the last is the one that is read. */
  use(): void {
    this.#isUsed = true
  }

  /** Begins to deliver what the socket reads, which was made with `onread`. What is here already comes in this call. */
  start(socket: Socket, receiver: Receiver): void {
    this.#socket = socket
    this.#receiver = receiver
    const early = this.#early
    if (early === undefined) return
    this.#early = undefined
    // A copy, so that it does not matter what becomes of it.
    if (receiver.onRead(early) !== 'full') socket.resume()
  }

  /** Goes on after `'full'`. */
  resume(): void {
    this.#socket?.resume()
  }

  /** The socket is destroyed. `isFree`: nobody refers to what was read last. */
  stop(isFree: boolean): void {
    this.#receiver = undefined
    if (this.#buffer.length === LARGE) {
      if (isFree) POOL.giveBack(this.#buffer)
      else POOL.writeOff()
    }
    this.#buffer = NOTHING
  }

  #onRead(length: number): boolean {
    const buffer = this.#buffer
    const chunk = length === buffer.length ? buffer : buffer.subarray(0, length)
    const receiver = this.#receiver
    if (receiver === undefined) {
      // `slice` of a Buffer is none.
      this.#early = new Uint8Array(chunk)
      return false
    }
    const delivery = receiver.onRead(chunk)
    // It may have ended the relay.
    if (this.#receiver === undefined) return true
    if (delivery !== 'done' && buffer.length === LARGE) POOL.writeOff()
    this.#choose(length, delivery === 'done')
    return delivery !== 'full'
  }

  /** Decides what the next read goes into. */
  #choose(length: number, isFree: boolean): void {
    const { length: size } = this.#buffer
    const wanted = this.#wantedSize(length, size)
    if (wanted === size && isFree) return
    if (size === LARGE && isFree) POOL.giveBack(this.#buffer)
    const large = wanted === LARGE ? POOL.borrow() : undefined
    // None is to be had: medium will do, and may do already.
    if (large === undefined && wanted === LARGE && size === MEDIUM && isFree) return
    this.#buffer = large ?? (wanted === SMALL ? smallBuffer() : new Uint8Array(MEDIUM))
  }

  #wantedSize(length: number, size: number): number {
    // A full read: there is more to come.
    if (length === size) {
      this.#smallReads = 0
      return LARGE
    }
    // What the pool has no large buffer for is not to be held by thousands of quiet tunnels.
    if (size === MEDIUM) return SMALL
    if (size === SMALL || length > MEDIUM) {
      this.#smallReads = 0
      return size
    }
    return ++this.#smallReads < PATIENCE ? size : SMALL
  }
}

/** A piece of the memory that Node's small buffers share: one of its own would be half as much again. */
function smallBuffer(): Uint8Array {
  return Buffer.allocUnsafe(SMALL)
}

const NOTHING: Uint8Array = new Uint8Array(0)
