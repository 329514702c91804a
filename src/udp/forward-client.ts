import { SocksError } from '../codec/index.js'
import { Deadline } from '../stream/deadline.js'
import type { SocketAddress } from './socket.js'
import type { OpenUpstream, Upstream } from './upstream.js'

/** What the clients of one forward share. None of the functions may throw. */
export interface ForwardHost {
  readonly open: OpenUpstream
  /** Bytes that wait in all clients together. */
  waitingBytes: number
  /** A way is open, or closed, that sends from there. */
  onOpen(address: SocketAddress | undefined): void
  onClose(address: SocketAddress | undefined): void
  /** A datagram of the client was handed on, or not. */
  onSent(data: Uint8Array): void
  onDrop(): void
  /** The way could not be opened, or broke. */
  onFailure(error: unknown): void
}

// A burst, as programs send before they hear anything.
const MAX_WAITING_DATAGRAMS = 64
// For all clients: what strangers can make a forward hold while nothing opens.
const MAX_WAITING_BYTES = 4_194_304
// A proxy that is down must not be dialed for every datagram.
const RETRY_MS = 1_000
// For an `open()` that has no timeout of its own: a client that goes on sending would wait for it for ever.
const OPEN_TIMEOUT_MS = 60_000

/** One client of a forward, with its way to the target: opened for its first datagram, and again after it has ended. */
export class ForwardClient {
  readonly #host: ForwardHost
  readonly #onMessage: (data: Buffer) => void
  #upstream: Upstream | undefined
  #queue: Uint8Array[] = []
  // Of the latest attempt: what comes of earlier ones, and of all after the end, is nobody's.
  #attempt: object | undefined
  #retryAt = Number.NEGATIVE_INFINITY

  /** `onMessage`: a datagram of the target. Must not throw. */
  constructor(host: ForwardHost, onMessage: (data: Buffer) => void) {
    this.#host = host
    this.#onMessage = onMessage
  }

  /** Sends a datagram to the target: now, when there is a way, or never. */
  send(data: Uint8Array, now: number): void {
    if (this.#attempt === undefined && now >= this.#retryAt) this.#open()
    if (this.#upstream !== undefined) this.#pass(this.#upstream, data)
    else if (this.#attempt === undefined || !this.#wait(data)) this.#host.onDrop()
  }

  /** Closes the way. The client may be used again. */
  close(): void {
    const upstream = this.#upstream
    this.#attempt = undefined
    this.#upstream = undefined
    for (const _ of this.#takeQueue()) this.#host.onDrop()
    if (upstream === undefined) return
    upstream.close()
    this.#host.onClose(upstream.address)
  }

  #open(): void {
    const attempt = {}
    const isCurrent = (): boolean => this.#attempt === attempt
    const onMessage = (data: Buffer): void => {
      if (isCurrent()) this.#onMessage(data)
    }
    const onEnd = (error: unknown): void => {
      if (isCurrent()) this.#end(error)
    }
    const deadline = new Deadline(OPEN_TIMEOUT_MS, () => {
      onEnd(new SocksError('ERR_SOCKS_TIMEOUT', `no way to the target after ${OPEN_TIMEOUT_MS} ms`))
    })
    this.#attempt = attempt
    this.#host.open(onMessage, onEnd).then(
      (upstream) => {
        deadline.clear()
        if (isCurrent()) this.#onOpen(upstream)
        else upstream.close()
      },
      (error) => {
        deadline.clear()
        onEnd(error)
      },
    )
  }

  #onOpen(upstream: Upstream): void {
    this.#upstream = upstream
    this.#host.onOpen(upstream.address)
    for (const data of this.#takeQueue()) this.#pass(upstream, data)
  }

  /** Without an error the next datagram opens another way; with one, the next after a pause. */
  #end(error: unknown): void {
    this.close()
    if (error === undefined) return
    this.#retryAt = performance.now() + RETRY_MS
    this.#host.onFailure(error)
  }

  #pass(upstream: Upstream, data: Uint8Array): void {
    try {
      upstream.send(data)
      this.#host.onSent(data)
    } catch {
      // Too large with a header before it, say, or the way has just been closed.
      this.#host.onDrop()
    }
  }

  #wait(data: Uint8Array): boolean {
    const bytes = this.#host.waitingBytes + data.length
    if (this.#queue.length >= MAX_WAITING_DATAGRAMS || bytes > MAX_WAITING_BYTES) return false
    this.#host.waitingBytes = bytes
    this.#queue.push(data)
    return true
  }

  #takeQueue(): Uint8Array[] {
    const queue = this.#queue
    this.#queue = []
    for (const data of queue) this.#host.waitingBytes -= data.length
    return queue
  }
}
