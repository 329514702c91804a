import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Guarded, READER } from './handover.js'
import { releaseChunk } from './release-chunk.js'
import type { Delivery, ReusedReader } from './reused-reader.js'

/** What a direction tells the relay that it is one half of. */
export interface DirectionOwner {
  /** Bytes have moved. */
  onProgress(): void
  /** The source's FIN was seen. */
  onHalfClosed(): void
  /** Everything is delivered, FIN included. */
  onDelivered(): void
  /** A stream failed, or was destroyed before its time. */
  onBroken(error: Error | undefined): void
  /** Whether all but this direction is done. */
  isLast(direction: Direction): boolean
}

// A stream is read by one direction and is the sink of the other.
const SINK: unique symbol = Symbol('tubesock sink')

interface Joined extends Guarded {
  [READER]?: Direction | undefined
  [SINK]?: Direction | undefined
}

// One function for all relays: closures of each would be a tenth of what an idle tunnel takes.
function onData(this: Joined, chunk: Uint8Array): void {
  this[READER]?.onData(chunk)
}
function onEnd(this: Joined): void {
  this[READER]?.onEnd()
}
function onClose(this: Joined): void {
  this[READER]?.onClose()
}
function onDrain(this: Joined): void {
  this[SINK]?.onDrain()
}
function onFinish(this: Joined): void {
  this[SINK]?.onFinish()
}

/** One way of a relay: everything from `source` goes to `sink`. */
export class Direction {
  bytes = 0
  delivered = false
  readonly source: Joined
  readonly #sink: Joined
  readonly #owner: DirectionOwner
  readonly #isOwn: boolean
  readonly #reader: ReusedReader | undefined
  #handedOver = 0

  constructor(source: Duplex, sink: Duplex, owner: DirectionOwner, isOwn: boolean, reader: ReusedReader | undefined) {
    this.source = source
    this.#sink = sink
    this.#owner = owner
    this.#isOwn = isOwn
    this.#reader = reader
    this.source[READER] = this
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
    source[READER] = undefined
    this.#sink[SINK] = undefined
    // Ours alone, and about to be destroyed: to take listeners off costs as much as to put them on.
    if (this.#isOwn) return
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
    if (delivery === 'done' && this.#isOwn && this.#hasOneReader) releaseChunk(chunk)
  }

  /** With a second listener, or one that calls `read()`, somebody else has each chunk, too. */
  get #hasOneReader(): boolean {
    return this.source.listenerCount('data') === 1 && this.source.listenerCount('readable') === 0
  }

  onRead(chunk: Uint8Array): Delivery {
    // It will have to wait behind others: a copy, or a byte now and then would keep a large buffer each.
    const isBehind = this.#sink.writableLength > 0
    const delivery = this.#deliver(isBehind ? new Uint8Array(chunk) : chunk)
    if (delivery === 'full') this.#awaitDrain()
    return isBehind && delivery === 'kept' ? 'done' : delivery
  }

  #deliver(chunk: Uint8Array): Delivery {
    const sink = this.#sink
    this.#owner.onProgress()
    try {
      // Nothing waits: all that was written before has been handed over, unless it has failed and is about to say so.
      if (sink.writableLength === 0 && sink.errored === null) this.#handedOver = this.bytes
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

  /** By the guard, before the close: after it a sink does not tell any more what of its writes was left. */
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
