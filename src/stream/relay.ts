import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Deadline } from './deadline.js'
import { guard } from './handover.js'
import { releaseChunk } from './release-chunk.js'
import { reset } from './reset.js'
import type { Delivery, ReusedReader } from './reused-reader.js'

/** Options of {@link relay}. */
export interface RelayOptions {
  /**
   * Milliseconds without a byte after one side has sent its FIN, then both are destroyed; 0 is never. Default 120,000:
   * without it a peer that vanishes after a half-close holds two descriptors for ever.
   */
  readonly drainTimeoutMs?: number | undefined
  /** Milliseconds without a byte in either direction, then both are destroyed; 0 is never, the default. */
  readonly idleTimeoutMs?: number | undefined
}

/**
 * How a relay ended. `end`: both sides sent FIN and all was delivered. `reset`: `error` (or, without one, a `destroy()`)
 * ended one side, and was passed on to the other. `drain-timeout`, `idle-timeout`: see {@link RelayOptions}. `destroyed`: by
 * `destroy()` of the relay.
 */
export interface RelayEnd {
  readonly reason: 'end' | 'reset' | 'drain-timeout' | 'idle-timeout' | 'destroyed'
  readonly error?: Error | undefined
}

/**
 * What the owner of both streams knows of them. `early`: bytes of the first that were read already. `reader`: the second was
 * dialed with it; nobody but this library has or ever had the two, the first is a `net.Socket` that was accepted.
 */
export interface RelayInside {
  readonly early?: readonly Uint8Array[] | undefined
  readonly reader?: ReusedReader | undefined
  /** Called at the end, in place of `closed`: a promise and its reaction are memory of every idle tunnel. */
  readonly onEnd?: ((end: RelayEnd) => void) | undefined
}

/** setTimeout takes what does not fit 31 bits for one millisecond. */
function assertMilliseconds(value: number, name: string): void {
  if (typeof value === 'number' && value >= 0 && value <= 0x7fff_ffff) return
  const error = new RangeError(`option ${name} must be a number of milliseconds from 0 to 2147483647`)
  throw Object.assign(error, { code: 'ERR_OUT_OF_RANGE' })
}

/**
 * Joins two streams until both have ended, with backpressure and half-close: the FIN of one side is passed on after
 * its last byte while the other side goes on talking. Takes both streams over, sets `allowHalfOpen` on them (a stream
 * without it loses what is sent after the other side's FIN), and destroys them at the end.
 * @throws RangeError `ERR_OUT_OF_RANGE` for milliseconds that no timer takes; the streams are then untouched.
 */
export function relay(a: Duplex, b: Duplex, options: RelayOptions = {}): Relay {
  return new Relay(a, b, options)
}

/** Two streams joined by {@link relay}. */
export class Relay {
  readonly #up: Direction
  readonly #down: Direction
  readonly #drainTimeoutMs: number
  #drain: Deadline | undefined
  #idle: Deadline | undefined
  #tell: ((end: RelayEnd) => void) | undefined
  #end: RelayEnd | undefined
  #closed: Promise<RelayEnd> | undefined

  /** Use {@link relay}. `inside` is for callers within this library. */
  constructor(a: Duplex, b: Duplex, options: RelayOptions, inside: RelayInside = {}) {
    const { drainTimeoutMs = 120_000, idleTimeoutMs = 0 } = options
    assertMilliseconds(drainTimeoutMs, 'drainTimeoutMs')
    assertMilliseconds(idleTimeoutMs, 'idleTimeoutMs')
    this.#drainTimeoutMs = drainTimeoutMs
    if (idleTimeoutMs > 0) this.#idle = new Deadline(idleTimeoutMs, () => this.#finish({ reason: 'idle-timeout' }))
    for (const stream of [a, b]) {
      guard(stream)
      stream.allowHalfOpen = true
    }
    const { early = NOTHING, reader, onEnd } = inside
    this.#tell = onEnd
    this.#up = new Direction(a, b, this, reader !== undefined, undefined)
    this.#down = new Direction(b, a, this, false, reader)
    this.#up.start(early)
    this.#down.start(NOTHING)
  }

  /** Settles once, when both streams are done with. Never rejects. */
  get closed(): Promise<RelayEnd> {
    this.#closed ??= new Promise((resolve) => {
      if (this.#end === undefined) this.#tell = resolve
      else resolve(this.#end)
    })
    return this.#closed
  }

  /** Bytes of the first stream that the second has taken: of a socket, those that were handed to the system. */
  get bytesUp(): number {
    return this.#up.bytes
  }

  /** Bytes of the second stream that the first has taken. */
  get bytesDown(): number {
    return this.#down.bytes
  }

  /** Ends both streams at once, dropping what is under way. */
  destroy(): void {
    this.#finish({ reason: 'destroyed' })
  }

  /** @internal A direction has moved bytes. */
  onProgress(): void {
    this.#drain?.refresh()
    this.#idle?.refresh()
  }

  /** @internal A direction has seen its source's FIN. */
  onHalfClosed(): void {
    this.#drain ??= new Deadline(this.#drainTimeoutMs, () => this.#finish({ reason: 'drain-timeout' }))
    this.onProgress()
  }

  /** @internal A direction has delivered everything, FIN included. */
  onDelivered(): void {
    if (this.#up.delivered && this.#down.delivered) this.#finish({ reason: 'end' })
  }

  /** @internal Whether all but this direction is done. */
  isLast(direction: Direction): boolean {
    return (direction === this.#up ? this.#down : this.#up).delivered
  }

  /** @internal A stream failed, or was destroyed before its time. */
  onBroken(error: Error | undefined): void {
    this.#finish({ reason: 'reset', error })
  }

  #finish(end: RelayEnd): void {
    if (this.#end !== undefined) return
    this.#end = end
    this.#drain?.clear()
    this.#idle?.clear()
    for (const direction of [this.#up, this.#down]) {
      direction.stop()
      if (end.reason === 'end') direction.source.destroy()
      else reset(direction.source)
    }
    this.#tell?.(end)
  }
}

const NOTHING: readonly Uint8Array[] = []

// A stream is the source of one direction and the sink of the other.
const SOURCE: unique symbol = Symbol('tubesock source')
const SINK: unique symbol = Symbol('tubesock sink')

interface Joined extends Duplex {
  [SOURCE]?: Direction | undefined
  [SINK]?: Direction | undefined
}

// One function for all relays: closures of each would be a tenth of what an idle tunnel takes.
function onData(this: Joined, chunk: Uint8Array): void {
  this[SOURCE]?.onData(chunk)
}
function onEnd(this: Joined): void {
  this[SOURCE]?.onEnd()
}
function onError(this: Joined, error: Error): void {
  this[SOURCE]?.onError(error)
}
function onClose(this: Joined): void {
  this[SOURCE]?.onClose()
}
function onDrain(this: Joined): void {
  this[SINK]?.onDrain()
}
function onFinish(this: Joined): void {
  this[SINK]?.onFinish()
}

/** One way of a relay: everything from `source` goes to `sink`. */
class Direction {
  bytes = 0
  delivered = false
  readonly source: Joined
  readonly #sink: Joined
  readonly #owner: Relay
  readonly #releases: boolean
  readonly #reader: ReusedReader | undefined
  #handedOver = 0

  constructor(source: Duplex, sink: Duplex, owner: Relay, releases: boolean, reader: ReusedReader | undefined) {
    this.source = source
    this.#sink = sink
    this.#owner = owner
    this.#releases = releases
    this.#reader = reader
    this.source[SOURCE] = this
    this.#sink[SINK] = this
  }

  /** `early`: bytes of the source that are to go first. */
  start(early: readonly Uint8Array[]): void {
    const { source } = this
    if (source.destroyed) {
      // Both directions must exist before the owner may tear them down.
      queueMicrotask(() => this.#owner.onBroken(source.errored ?? undefined))
      return
    }
    // Sockets close after every error; other streams may not.
    if (!isPlainSocket(source)) source.on('error', onError)
    source.on('close', onClose)
    // A stream of the application's own may end the relay by throwing.
    let isFull = false
    for (const chunk of early) isFull = this.#deliver(chunk) === 'full'
    if (isFull) this.#awaitDrain()
    if (source.readableEnded) {
      this.onEnd()
      return
    }
    source.on('end', onEnd)
    // `as`: only sockets are made with a reader.
    if (this.#reader !== undefined) this.#reader.start(source as Socket, this)
    else {
      source.on('data', onData)
      if (isFull) source.pause()
      else source.resume()
    }
  }

  stop(): void {
    const { source } = this
    // Counted is what was handed over. Of a write that failed nobody knows how much was.
    if (isFailedWrite(this.#sink.errored)) this.bytes = this.#handedOver
    else if (!this.delivered) this.bytes -= Math.min(this.bytes - this.#handedOver, this.#sink.writableLength)
    this.#reader?.stop(this.#sink.writableLength === 0)
    source[SOURCE] = undefined
    this.#sink[SINK] = undefined
    source.off('error', onError)
    source.off('close', onClose)
    source.off('data', onData)
    source.off('end', onEnd)
    this.#sink.off('drain', onDrain)
    this.#sink.off('finish', onFinish)
  }

  onData(chunk: Uint8Array): void {
    const delivery = this.#deliver(chunk)
    if (delivery === 'full') {
      this.source.pause()
      this.#awaitDrain()
    }
    // With a second listener, somebody else has the chunk, too.
    if (delivery === 'done' && this.#releases && this.source.listenerCount('data') === 1) releaseChunk(chunk)
  }

  onRead(chunk: Uint8Array): Delivery {
    const delivery = this.#deliver(chunk)
    if (delivery === 'full') this.#awaitDrain()
    return delivery
  }

  #deliver(chunk: Uint8Array): Delivery {
    const sink = this.#sink
    this.#owner.onProgress()
    try {
      // Nothing waits: all that was written before has been handed over.
      if (sink.writableLength === 0) this.#handedOver = this.bytes
      this.bytes += chunk.length
      const wantsMore = sink.write(chunk)
      // The system has taken all of it at once. A stream that is no socket may keep what it has taken.
      if (sink.writableLength === 0 && isPlainSocket(sink)) return 'done'
      return wantsMore ? 'kept' : 'full'
    } catch (error) {
      // A stream of the application's own whose write throws must not end the process.
      this.#owner.onBroken(error instanceof Error ? error : undefined)
      return 'kept'
    }
  }

  /** A sink may be full for ever: it is listened to while it is, and no longer. */
  #awaitDrain(): void {
    this.#sink.once('drain', onDrain)
  }

  onDrain(): void {
    this.#owner.onProgress()
    if (this.#reader === undefined) this.source.resume()
    else this.#reader.resume()
  }

  onEnd(): void {
    const sink = this.#sink
    this.#owner.onHalfClosed()
    if (sink.writableFinished) this.onFinish()
    // Nothing waits, and the other way is done: to close sends the same FIN, and saves a shutdown of its own.
    else if (this.#owner.isLast(this) && sink.writableLength === 0 && isPlainSocket(sink)) this.onFinish()
    else {
      sink.once('finish', onFinish)
      sink.end()
    }
  }

  onFinish(): void {
    this.delivered = true
    this.#owner.onDelivered()
  }

  onError(error: Error): void {
    this.#owner.onBroken(error)
  }

  onClose(): void {
    // A stream that has read and written its last closes by itself while the other one still flushes.
    const { source } = this
    if (!(source.readableEnded && source.writableFinished)) this.#owner.onBroken(source.errored ?? undefined)
  }
}

/** Not TLS, nor anything else that is built on a socket: what is written has gone to the system, and to nobody else. */
function isPlainSocket(stream: Duplex): boolean {
  return Object.getPrototypeOf(stream) === Socket.prototype
}

/** A reset that is met by reading says nothing about what was written before. */
function isFailedWrite(error: Error | null): boolean {
  return error !== null && Reflect.get(error, 'syscall') !== 'read'
}
