import { assertBytes, outOfRange } from './arguments.js'
import { SocksError } from './errors.js'
import { Inbox } from './inbox.js'

/** Bytes to and from the peer, for an authentication method of the application's own. One reader at a time. */
export interface AuthChannel {
  /**
   * The next bytes, as many as are here; `undefined` after the peer's FIN, which is a half-close: it may still read.
   * Rejects when the peer is gone and when the method has ended, and with a TypeError while another read waits.
   */
  read(): Promise<Uint8Array | undefined>
  /**
   * Exactly `length` bytes, in memory of their own; what came with them stays unread. Rejects as `read`, with a RangeError
   * for what is no length, and with `ERR_SOCKS_CONNECTION_CLOSED` when the peer's FIN comes before: what there was can
   * then still be read.
   */
  readExactly(length: number): Promise<Uint8Array>
  /**
   * Gives back what was read and belongs to what follows: it is read again first, by this channel or by what comes after
   * the method. @throws SocksError `ERR_SOCKS_ILLEGAL_MESSAGE` once the method has ended, and once the peer's FIN was
   * read: nothing comes after it.
   */
  unread(bytes: Uint8Array): void
  /** Sends bytes. @throws SocksError `ERR_SOCKS_ILLEGAL_MESSAGE` once the method has ended. */
  write(bytes: Uint8Array): void
}

/** Where a channel takes its bytes from. */
export interface ByteSource {
  /** Whether the peer's end has come and all was read. */
  readonly ended: boolean
  read(): Uint8Array | undefined
  /** Puts bytes back in front, in the turn in which they were read. */
  unread(bytes: Uint8Array): void
}

/** How many chunks of a message may wait apart: each costs far more than the byte that it may hold. */
const LOOSE_CHUNKS = 64

/**
 * The channel as the connection that owns it sees it.
 *
 * What `read` has handed out stays in the source until the next call says that it was used. So the source's end cannot
 * pass while a method still thinks about what it read last, and what it gives back finds its place again.
 */
export class OwnedChannel implements AuthChannel {
  readonly #source: ByteSource
  readonly #send: (bytes: Uint8Array) => void
  #handedOut = 0
  #isBeingRead = false
  // What a read wanted more of than there was before the source's end.
  readonly #late = new Inbox(Number.POSITIVE_INFINITY)
  #wake: (() => void) | undefined
  #failure: Error | undefined

  constructor(source: ByteSource, send: (bytes: Uint8Array) => void) {
    this.#source = source
    this.#send = send
  }

  read(): Promise<Uint8Array | undefined> {
    return forgettable(this.#alone(() => this.#take()))
  }

  readExactly(length: number): Promise<Uint8Array> {
    return forgettable(this.#alone(() => this.#takeExactly(length)))
  }

  unread(bytes: Uint8Array): void {
    assertBytes(bytes, 'bytes')
    if (bytes.length > 0 && this.#source.ended) {
      throw new SocksError('ERR_SOCKS_ILLEGAL_MESSAGE', 'the end of the peer was read')
    }
    this.#putBack(bytes)
  }

  write(bytes: Uint8Array): void {
    assertBytes(bytes, 'bytes')
    if (this.#failure !== undefined) throw this.#failure
    this.#send(bytes)
  }

  /** The source has bytes, or its end. */
  onReadable(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Ends the channel for whoever still holds it. What was not read is in the source. */
  end(failure: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#forget()
    this.onReadable()
  }

  /** Two readers would each get some of the other's bytes. */
  async #alone<T>(read: () => Promise<T>): Promise<T> {
    if (this.#isBeingRead) throw new TypeError('a channel is read by one reader at a time')
    this.#isBeingRead = true
    try {
      return await read()
    } finally {
      this.#isBeingRead = false
    }
  }

  async #take(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#late.length > 0) return this.#late.take()
      const chunk = this.#next()
      if (chunk !== undefined) return chunk
      if (this.#source.ended) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async #takeExactly(length: number): Promise<Uint8Array> {
    if (!Number.isSafeInteger(length) || length < 0) throw outOfRange('length must be an integer of at least 0')
    const message = new Inbox(Number.POSITIVE_INFINITY)
    for (let chunks = 1; message.length < length; chunks++) {
      const chunk = await this.#take()
      if (chunk === undefined) {
        this.#putBack(message.take())
        throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the peer left in the middle of the handshake')
      }
      message.push(chunk)
      if (chunks % LOOSE_CHUNKS === 0) message.peek()
    }
    const bytes = message.take()
    this.#putBack(bytes.subarray(length))
    return new Uint8Array(bytes.subarray(0, length))
  }

  #putBack(bytes: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure
    // With nothing to give back, what was handed out stays where it is: the end behind it must not pass yet.
    if (bytes.length === 0) return
    this.#forget()
    if (this.#source.ended) this.#late.unshift(bytes)
    else this.#source.unread(bytes)
  }

  #next(): Uint8Array | undefined {
    this.#forget()
    const chunk = this.#source.read()
    if (chunk === undefined) return undefined
    this.#source.unread(chunk)
    this.#handedOut = chunk.length
    return chunk
  }

  /** Takes off the source what was handed out. Read as a whole: a read of so many bytes may raise a stream's own limit. */
  #forget(): void {
    const used = this.#handedOut
    if (used === 0) return
    this.#handedOut = 0
    const waiting = this.#source.read()
    if (waiting !== undefined) this.#source.unread(waiting.subarray(used))
  }
}

/** A method may begin to read before it waits for that: a peer that leaves meanwhile must not end the process. */
function forgettable<T>(step: Promise<T>): Promise<T> {
  step.catch(() => {})
  return step
}
