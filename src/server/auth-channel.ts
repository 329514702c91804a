import { assertBytes } from '../codec/arguments.js'
import { Inbox } from '../codec/inbox.js'
import { SocksError } from '../codec/index.js'

/** Bytes to and from a client whose authentication a method of the application's own is about. */
export interface AuthChannel {
  /** The next bytes, as many as are here; `undefined` after the client's FIN. Rejects when the client is gone. */
  read(): Promise<Uint8Array | undefined>
  /** Exactly `length` bytes. Rejects with `ERR_SOCKS_CONNECTION_CLOSED` when the client ends before. */
  readExactly(length: number): Promise<Uint8Array>
  /** Gives back what was read and belongs to what follows: it is read again first. */
  unread(bytes: Uint8Array): void
  /** Sends bytes. @throws SocksError `ERR_SOCKS_ILLEGAL_MESSAGE` once the method has ended. */
  write(bytes: Uint8Array): void
}

/** Where a channel takes its bytes from. */
export interface ByteSource {
  /** Whether the client's end has come and all was read. */
  readonly ended: boolean
  read(): Uint8Array | undefined
}

/** The channel as the connection that owns it sees it. Takes a chunk off the stream only when it is asked for. */
export class ServerSideChannel implements AuthChannel {
  readonly #source: ByteSource
  readonly #send: (bytes: Uint8Array) => void
  // What was read and given back; chunks are taken one at a time, so this is bounded by what the method gives back.
  readonly #pending = new Inbox(Number.POSITIVE_INFINITY)
  #wake: (() => void) | undefined
  #failure: Error | undefined

  constructor(source: ByteSource, early: Uint8Array, send: (bytes: Uint8Array) => void) {
    this.#source = source
    this.#send = send
    this.#pending.push(early)
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.#wake !== undefined) throw new TypeError('a channel is read by one reader at a time')
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#pending.length > 0) return this.#pending.take()
      const chunk = this.#source.read()
      if (chunk !== undefined) return chunk
      if (this.#source.ended) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async readExactly(length: number): Promise<Uint8Array> {
    const message = new Inbox(Number.POSITIVE_INFINITY)
    while (message.length < length) {
      const chunk = await this.read()
      if (chunk === undefined) {
        throw new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the client left in the middle of the handshake')
      }
      message.push(chunk)
    }
    const bytes = message.take()
    this.unread(bytes.subarray(length))
    return bytes.slice(0, length)
  }

  unread(bytes: Uint8Array): void {
    assertBytes(bytes, 'bytes')
    this.#pending.unshift(bytes)
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

  /** Ends the channel for whoever still holds it; returns what was not read. */
  end(failure: Error): Uint8Array {
    this.#failure ??= failure
    this.onReadable()
    return this.#pending.take()
  }
}
