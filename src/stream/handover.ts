import type { Duplex } from 'node:stream'

/** Who reads a guarded stream, and is told of its errors: a listener of its own would be memory of every tunnel. */
export const READER: unique symbol = Symbol('tubesock reader')

/** A stream that may have been guarded. */
export interface Guarded extends Duplex {
  [READER]?: { onError(error: Error): void } | undefined
}

/**
 * Keeps an `'error'` listener on a stream for life: between two owners a reset must not end the process. What happened
 * stays visible in `destroyed` and `errored`. A stream that has one gets no second.
 */
export function guard(stream: Duplex): void {
  if (stream.listenerCount('error') === 0 || !stream.listeners('error').includes(passOn)) stream.on('error', passOn)
}

function passOn(this: Guarded, error: Error): void {
  this[READER]?.onError(error)
}

/** What a {@link Handshake} tells its owner. */
export interface HandshakeListener {
  /** Bytes may be there to `read()`, or the peer's end has come. */
  onReadable(): void
  /** The stream failed or was destroyed: nothing can be said any more. */
  onClose(error: Error | undefined): void
}

/** A stream on loan. */
export interface Borrowed {
  /** Whether the peer's end has come and every byte before it was read. */
  readonly ended: boolean
  /** Whether there are bytes to `read()`. */
  readonly hasBytes: boolean
  /** Bytes that are here, or `undefined`. */
  read(): Uint8Array | undefined
  /** Puts bytes back in front. Only in the same turn as the `read()` that gave them: later the end may have passed. */
  unread(bytes: Uint8Array): void
  /** Takes every listener off, but for the guard. */
  release(): void
  /** Takes the bytes that were read from the stream and belong to whoever gets it. */
  take(): readonly Uint8Array[]
}

/** What borrows nothing any more. */
export const RELEASED: Borrowed = {
  ended: true,
  hasBytes: false,
  read: () => undefined,
  unread: () => {},
  release: () => {},
  take: () => [],
}

/**
 * Borrows a stream for a handshake and gives it back as it was: idle, `readableFlowing === null`, nothing lost.
 *
 * It reads by `'readable'` and `read()`. A stream that was ever `pause()`d does not start by `on('data')` alone, and one
 * that was flowing drops what arrives before the next owner listens; a stream read this way does neither. Bytes that
 * are not read wait in the stream's own bounded buffer, so backpressure reaches the peer.
 */
export class Handshake implements Borrowed {
  readonly #stream: Duplex
  readonly #listener: HandshakeListener
  #released = false

  constructor(stream: Duplex, listener: HandshakeListener) {
    this.#stream = stream
    this.#listener = listener
    guard(stream)
    stream.on('readable', this.#onReadable)
    stream.on('end', this.#onReadable)
    stream.on('error', this.#onError)
    stream.on('close', this.#onClose)
  }

  get ended(): boolean {
    return this.#stream.readableEnded
  }

  get hasBytes(): boolean {
    return this.#stream.readableLength > 0
  }

  /** All bytes that are here, or `undefined`. */
  read(): Uint8Array | undefined {
    return this.#stream.read() ?? undefined
  }

  unread(bytes: Uint8Array): void {
    if (bytes.length > 0 && !this.#stream.destroyed) this.#stream.unshift(bytes)
  }

  /** Takes every listener off, but for the guard. The stream is idle from the next tick on. */
  release(): void {
    this.#released = true
    this.#stream.off('readable', this.#onReadable)
    this.#stream.off('end', this.#onReadable)
    this.#stream.off('error', this.#onError)
    this.#stream.off('close', this.#onClose)
  }

  /** None: they wait in the stream. */
  take(): readonly Uint8Array[] {
    return []
  }

  readonly #onReadable = (): void => this.#listener.onReadable()

  readonly #onError = (error: Error): void => this.#finish(error)

  readonly #onClose = (): void => this.#finish(undefined)

  #finish(error: Error | undefined): void {
    if (this.#released) return
    this.release()
    this.#listener.onClose(error)
  }
}
