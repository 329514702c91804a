import { type AddressInfo, Socket } from 'node:net'
import { Duplex, type DuplexOptions } from 'node:stream'
import { outOfRange } from '../codec/arguments.js'
import { SocksError } from '../codec/errors.js'
import { guard } from '../stream/handover.js'
import { reset } from '../stream/reset.js'

type WriteDone = (error?: Error | null) => void

// Node's timers fire at once when they are given more.
const MAX_TIMEOUT_MS = 0x7fffffff

/**
 * A stream that is there before its tunnel is: what is written waits for the tunnel, and `destroy()` ends the attempt.
 *
 * `http` needs it. A request that is given its socket later, by a callback, cannot be ended before: nobody is told that
 * it was destroyed, its timeout does not run, and `maxSockets` does not count it.
 *
 * It has what applications use of a `net.Socket`, `'connect'` and `'timeout'` included. An `'error'` that nobody listens for
 * does not end the process; see `errored`.
 */
export class TunnelSocket extends Duplex {
  /** Milliseconds of `setTimeout`, if it was called. */
  timeout: number | undefined
  readonly #abort = new AbortController()
  /** A socket, unless a method of authentication has put a stream of another kind around it. */
  #socket: Duplex | undefined
  /** Settings made before there was a socket to make them on. */
  #settings: ((socket: Socket) => unknown)[] = []
  /** The write that waits, for the tunnel to be open or for the socket to drain; a stream has one at a time. */
  #stalled: { readonly done: WriteDone; readonly begin?: (socket: Duplex) => void } | undefined
  #timer: NodeJS.Timeout | undefined

  /** Calls `open` at once. Its signal is aborted by `destroy()`; what it rejects with is the stream's error. */
  constructor(open: (signal: AbortSignal) => Promise<Duplex>, options: Pick<DuplexOptions, 'allowHalfOpen'> = {}) {
    super({ allowHalfOpen: false, ...options })
    guard(this)
    // In a turn of its own, so that a listener that throws is an uncaught exception, as on any socket.
    open(this.#abort.signal).then(
      (socket) => process.nextTick(() => this.#attach(socket)),
      (error) => this.destroy(error),
    )
  }

  /** Whether the tunnel is not open yet. */
  get connecting(): boolean {
    return this.#socket === undefined && !this.destroyed
  }

  /** As {@link connecting}. */
  get pending(): boolean {
    return this.#socket === undefined
  }

  /** Address of the first proxy, whose connection it is; the target's is not known. */
  get remoteAddress(): string | undefined {
    return this.#net?.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.#net?.remotePort
  }

  get remoteFamily(): string | undefined {
    return this.#net?.remoteFamily
  }

  get localAddress(): string | undefined {
    return this.#net?.localAddress
  }

  get localPort(): number | undefined {
    return this.#net?.localPort
  }

  get localFamily(): string | undefined {
    return this.#net?.localFamily
  }

  /** Bytes from the proxy, its replies included. */
  get bytesRead(): number {
    return this.#net?.bytesRead ?? 0
  }

  /** Bytes to the proxy, our requests included. */
  get bytesWritten(): number {
    return this.#net?.bytesWritten ?? 0
  }

  /** The local end, as of a `net.Socket`. */
  address(): AddressInfo | object {
    return this.#net?.address() ?? {}
  }

  setKeepAlive(enable?: boolean, initialDelayMs?: number): this {
    return this.#set((socket) => socket.setKeepAlive(enable, initialDelayMs))
  }

  setNoDelay(noDelay?: boolean): this {
    return this.#set((socket) => socket.setNoDelay(noDelay))
  }

  ref(): this {
    return this.#set((socket) => socket.ref())
  }

  unref(): this {
    return this.#set((socket) => socket.unref())
  }

  /** Emits `'timeout'` after so many milliseconds without a byte, the handshake with the proxy included; 0 is never. */
  setTimeout(timeoutMs: number, callback?: () => void): this {
    if (!(timeoutMs >= 0)) throw outOfRange('timeout must be a number of milliseconds')
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.timeout = timeoutMs
    if (timeoutMs > 0 && !this.destroyed) {
      this.#timer = setTimeout(() => this.emit('timeout'), Math.min(timeoutMs, MAX_TIMEOUT_MS)).unref()
    }
    if (callback !== undefined) timeoutMs > 0 ? this.once('timeout', callback) : this.off('timeout', callback)
    return this
  }

  /** Ends, and destroys itself once all that was written is handed over. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /** Destroys; on plain TCP the proxy sees a reset. */
  resetAndDestroy(): this {
    if (this.#socket !== undefined) reset(this.#socket)
    return this.destroy()
  }

  override _read(): void {
    if (this.#socket?.isPaused()) this.#socket.resume()
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: WriteDone): void {
    this.#whenOpen(done, (socket) => {
      socket.write(chunk)
      this.#whenDrained(socket, done)
    })
  }

  /** Head and body of a request go in one segment. */
  override _writev(chunks: { readonly chunk: Uint8Array }[], done: WriteDone): void {
    this.#whenOpen(done, (socket) => {
      socket.cork()
      for (const { chunk } of chunks) socket.write(chunk)
      socket.uncork()
      this.#whenDrained(socket, done)
    })
  }

  override _final(done: WriteDone): void {
    this.#whenOpen(done, (socket) => socket.end(done))
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#abort.abort()
    this.#socket?.destroy()
    this.#settings = []
    const stalled = this.#stalled
    this.#stalled = undefined
    stalled?.done(error ?? closed())
    done(error)
  }

  #attach(socket: Duplex): void {
    if (this.destroyed || socket.destroyed) {
      socket.destroy()
      this.destroy(socket.errored ?? closed())
      return
    }
    this.#socket = socket
    for (const make of this.#settings.splice(0)) this.#set(make)
    socket.on('data', (chunk: Uint8Array) => {
      this.#timer?.refresh()
      if (!this.push(chunk)) socket.pause()
    })
    socket.on('drain', () => this.#onDrain())
    socket.on('error', (error) => this.destroy(error))
    socket.on('close', () => {
      // A socket that has read and written its last closes by itself; what it has read may still wait here.
      if (!(socket.readableEnded && socket.writableFinished)) this.destroy()
    })
    if (socket.readableEnded) this.push(null)
    else socket.on('end', () => this.push(null))
    const stalled = this.#stalled
    this.#stalled = undefined
    stalled?.begin?.(socket)
    this.#timer?.refresh()
    this.emit('connect')
    this.emit('ready')
  }

  #set(make: (socket: Socket) => unknown): this {
    if (this.#socket === undefined) this.#settings.push(make)
    else if (this.#net !== undefined) make(this.#net)
    return this
  }

  /** What has addresses and a handle to make settings on. */
  get #net(): Socket | undefined {
    return this.#socket instanceof Socket ? this.#socket : undefined
  }

  #whenOpen(done: WriteDone, begin: (socket: Duplex) => void): void {
    this.#timer?.refresh()
    if (this.#socket === undefined) this.#stalled = { done, begin }
    else begin(this.#socket)
  }

  #whenDrained(socket: Duplex, done: WriteDone): void {
    // Not writable after a write that failed at once: an event is to tell.
    if (socket.writableNeedDrain || !socket.writable) this.#stalled = { done }
    else done()
  }

  #onDrain(): void {
    const stalled = this.#stalled
    this.#stalled = undefined
    this.#timer?.refresh()
    stalled?.done()
  }
}

function closed(): SocksError {
  return new SocksError('ERR_SOCKS_CONNECTION_CLOSED', 'the connection through the proxy is closed')
}
