import type { Duplex } from 'node:stream'
import { type Borrowed, guard, type HandshakeListener } from './handover.js'

/** What may wait while a hook has the word, in bytes; past it the peer is left to block. As much as one read brings. */
const HELD_LIMIT = 65_536

/**
 * Borrows a stream for a handshake and keeps it flowing. A quarter of what a `Handshake` costs, and less of a promise:
 * the stream is not idle afterwards, so whoever takes it over listens in the same turn, and takes what was held first.
 */
export class FlowingHandshake implements Borrowed {
  readonly #stream: Duplex
  readonly #listener: HandshakeListener
  #held: Uint8Array[] = []
  #heldBytes = 0

  constructor(stream: Duplex, listener: HandshakeListener) {
    this.#stream = stream
    this.#listener = listener
    guard(stream)
    stream.on('data', this.#onData)
    stream.on('end', this.#onEnd)
    stream.on('close', this.#onClose)
  }

  get ended(): boolean {
    return this.#held.length === 0 && this.#stream.readableEnded
  }

  get hasBytes(): boolean {
    return this.#held.length > 0
  }

  read(): Uint8Array | undefined {
    const chunk = this.#held.shift()
    if (chunk === undefined) return undefined
    this.#heldBytes -= chunk.length
    if (this.#heldBytes <= HELD_LIMIT && this.#stream.isPaused()) this.#stream.resume()
    return chunk
  }

  unread(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#held.unshift(bytes)
    this.#heldBytes += bytes.length
  }

  release(): void {
    this.#stream.off('data', this.#onData)
    this.#stream.off('end', this.#onEnd)
    this.#stream.off('close', this.#onClose)
  }

  take(): readonly Uint8Array[] {
    const held = this.#held
    this.#held = []
    return held
  }

  readonly #onData = (chunk: Uint8Array): void => {
    // An array that grows takes room for seventeen.
    if (this.#held.length === 0) this.#held = [chunk]
    else this.#held.push(chunk)
    this.#heldBytes += chunk.length
    if (this.#heldBytes > HELD_LIMIT) this.#stream.pause()
    this.#listener.onReadable()
  }

  readonly #onEnd = (): void => this.#listener.onReadable()

  readonly #onClose = (): void => {
    this.release()
    this.#listener.onClose(this.#stream.errored ?? undefined)
  }
}
