import type { Duplex } from 'node:stream'
import { Deadline } from './deadline.js'
import { guard } from './handover.js'
import { reset } from './reset.js'

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
  /** Settles once, when both streams are done with. Never rejects. */
  readonly closed: Promise<RelayEnd>

  readonly #up: Direction
  readonly #down: Direction
  readonly #drainTimeoutMs: number
  #drain: Deadline | undefined
  readonly #idle: Deadline
  #resolve: ((end: RelayEnd) => void) | undefined

  /** Use {@link relay}. */
  constructor(a: Duplex, b: Duplex, { drainTimeoutMs = 120_000, idleTimeoutMs = 0 }: RelayOptions) {
    assertMilliseconds(drainTimeoutMs, 'drainTimeoutMs')
    assertMilliseconds(idleTimeoutMs, 'idleTimeoutMs')
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#drainTimeoutMs = drainTimeoutMs
    this.#idle = new Deadline(idleTimeoutMs, () => this.#finish({ reason: 'idle-timeout' }))
    for (const stream of [a, b]) {
      guard(stream)
      stream.allowHalfOpen = true
    }
    this.#up = new Direction(a, b, this)
    this.#down = new Direction(b, a, this)
    this.#up.start()
    this.#down.start()
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
    this.#idle.refresh()
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

  /** @internal A stream failed, or was destroyed before its time. */
  onBroken(error: Error | undefined): void {
    this.#finish({ reason: 'reset', error })
  }

  #finish(end: RelayEnd): void {
    const resolve = this.#resolve
    if (resolve === undefined) return
    this.#resolve = undefined
    this.#drain?.clear()
    this.#idle.clear()
    for (const direction of [this.#up, this.#down]) {
      direction.stop()
      if (end.reason === 'end') direction.source.destroy()
      else reset(direction.source)
    }
    resolve(end)
  }
}

/** One way of a relay: everything from `source` goes to `sink`. */
class Direction {
  bytes = 0
  delivered = false
  #handedOver = 0
  readonly source: Duplex
  readonly #sink: Duplex
  readonly #owner: Relay

  constructor(source: Duplex, sink: Duplex, owner: Relay) {
    this.source = source
    this.#sink = sink
    this.#owner = owner
  }

  start(): void {
    const { source } = this
    if (source.destroyed) {
      // Both directions must exist before the owner may tear them down.
      queueMicrotask(() => this.#owner.onBroken(source.errored ?? undefined))
      return
    }
    source.on('error', this.#onError)
    source.on('close', this.#onClose)
    this.#sink.on('drain', this.#onDrain)
    this.#sink.on('finish', this.#onFinish)
    if (source.readableEnded) {
      this.#onEnd()
      return
    }
    source.on('data', this.#onData)
    source.on('end', this.#onEnd)
    source.resume()
  }

  stop(): void {
    const { source } = this
    // Counted is what was handed over. Of a write that failed nobody knows how much was.
    if (isFailedWrite(this.#sink.errored)) this.bytes = this.#handedOver
    else if (!this.delivered) this.bytes -= Math.min(this.bytes - this.#handedOver, this.#sink.writableLength)
    source.off('error', this.#onError)
    source.off('close', this.#onClose)
    source.off('data', this.#onData)
    source.off('end', this.#onEnd)
    this.#sink.off('drain', this.#onDrain)
    this.#sink.off('finish', this.#onFinish)
  }

  readonly #onData = (chunk: Uint8Array): void => {
    this.#owner.onProgress()
    try {
      // Nothing waits: all that was written before has been handed over.
      if (this.#sink.writableLength === 0) this.#handedOver = this.bytes
      this.bytes += chunk.length
      if (!this.#sink.write(chunk)) this.source.pause()
    } catch (error) {
      // A stream of the application's own whose write throws must not end the process.
      this.#owner.onBroken(error instanceof Error ? error : undefined)
    }
  }

  readonly #onDrain = (): void => {
    this.#owner.onProgress()
    this.source.resume()
  }

  readonly #onEnd = (): void => {
    this.#owner.onHalfClosed()
    if (this.#sink.writableFinished) this.#onFinish()
    else this.#sink.end()
  }

  readonly #onFinish = (): void => {
    this.delivered = true
    this.#owner.onDelivered()
  }

  readonly #onError = (error: Error): void => this.#owner.onBroken(error)

  readonly #onClose = (): void => {
    // A stream that has read and written its last closes by itself while the other one still flushes.
    const { source } = this
    if (!(source.readableEnded && source.writableFinished)) this.#owner.onBroken(source.errored ?? undefined)
  }
}

/** A reset that is met by reading says nothing about what was written before. */
function isFailedWrite(error: Error | null): boolean {
  return error !== null && Reflect.get(error, 'syscall') !== 'read'
}
