import { EventEmitter } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type Address, type Destination, encodeUdpHeader, type SocksError, toDestination } from '../codec/index.js'
import { guard } from '../stream/handover.js'
import { ended, noAddress, notRunning, tooMany } from './association-errors.js'
import type { UdpAssociationEvents, UdpAssociationStats, UdpMessage, UdpSender } from './association-events.js'
import { associationSettings, type UdpAssociationOptions, type UdpAssociationSettings } from './association-options.js'
import { decoded } from './datagram.js'
import type { Decide } from './judge.js'
import { MessageQueue } from './message-queue.js'
import { afterAll, type Outgoing, outgoing, type UdpSendCallback, type UdpSendOptions } from './outgoing.js'
import { Reassembly, type WholeDatagram } from './reassembly.js'
import { type RouteDrop, Routes } from './routes.js'
import { maxPayloadBytes } from './size.js'
import { type SocketAddress, UdpSocket } from './socket.js'
import { Sweeper } from './sweeper.js'

/**
 * Opens the datagram side of a granted UDP ASSOCIATE, and takes its control stream over: whatever goes wrong later, and
 * when the promise rejects for another reason than an argument, that stream is destroyed.
 * @throws (rejects) TypeError, RangeError for options; SocksError `ERR_SOCKS_CONNECTION_CLOSED` where the control stream
 * has ended; the system's error where nothing could be bound; the signal's reason.
 */
export async function openUdpAssociation(options: UdpAssociationOptions): Promise<UdpAssociation> {
  const settings = associationSettings(options)
  const { control, signal } = settings
  try {
    signal?.throwIfAborted()
    const association = new UdpAssociation(settings)
    await association.connected
    return association
  } catch (error) {
    guard(control)
    control.destroy()
    throw error
  }
}

/** A socket for datagrams through a SOCKS5 proxy, which feels like one of `dgram`. See {@link openUdpAssociation}. */
export class UdpAssociation extends EventEmitter<UdpAssociationEvents> {
  /** @internal Settles when the socket takes nothing but the relay's datagrams. */
  readonly connected: Promise<void>
  readonly #settings: UdpAssociationSettings
  readonly #socket: UdpSocket
  readonly #routes: Routes<Outgoing> | undefined
  readonly #reassembly: Reassembly | undefined
  readonly #sweeper: Sweeper
  readonly #queues = new Set<MessageQueue<UdpMessage>>()
  readonly #moved = { datagramsSent: 0, bytesSent: 0, datagramsReceived: 0, bytesReceived: 0 }
  readonly #dropped = { malformed: 0, fragment: 0, overflow: 0, unsent: 0, system: 0 }
  // In an object, because there may be no error.
  #end: { readonly error: SocksError | undefined } | undefined

  /** Use {@link openUdpAssociation}. @throws the system's error. */
  constructor(settings: UdpAssociationSettings) {
    super()
    const { control, localAddress, relayHost, relayPort, signal } = settings
    this.#settings = settings
    if (control.destroyed || control.readableEnded) throw ended(control.errored ?? undefined)
    this.#socket = new UdpSocket({
      host: localAddress,
      onMessage: this.#onDatagram,
      // An ICMP error is about one datagram; whether the relay is there, the control connection tells.
      onError: () => {
        this.#dropped.system++
      },
    })
    this.#routes = settings.resolve && this.#routesBy(settings.resolve)
    this.#reassembly = settings.reassemble ? new Reassembly() : undefined
    this.#sweeper = new Sweeper((now) => {
      this.#reassembly?.expire(now)
      return this.#reassembly?.expiresAt
    })
    guard(control)
    control.on('end', this.#onControlEnd)
    control.on('error', this.#onControlError)
    control.on('close', this.#onControlEnd)
    // Never left unread, or its end would not be seen.
    control.resume()
    signal?.addEventListener('abort', this.#onAbort)
    this.connected = this.#connect({ host: relayHost, port: relayPort })
  }

  /**
   * Sends one datagram through the relay: bytes, or text as UTF-8. `callback` is called later, once; what is sent must not
   * be changed before. There is no promise: a datagram has left or not, and nobody knows whether it arrives.
   * @throws TypeError `ERR_INVALID_ARG_VALUE`; RangeError `ERR_SOCKET_BAD_PORT` for a port outside 1 to 65535,
   * `ERR_OUT_OF_RANGE` for more than {@link UdpAssociation.maxPayload} bytes; SocksError `ERR_SOCKS_INVALID_HOST`. After the
   * end `ERR_SOCKET_DGRAM_NOT_RUNNING`, as `dgram` does, with what ended it as `cause`.
   */
  send(data: string | NodeJS.ArrayBufferView, port: number, host: string, callback?: UdpSendCallback): void
  send(
    data: string | NodeJS.ArrayBufferView,
    port: number,
    host: string,
    options?: UdpSendOptions,
    callback?: UdpSendCallback,
  ): void
  send(
    data: string | NodeJS.ArrayBufferView,
    port: number,
    host: string,
    options?: UdpSendOptions | UdpSendCallback,
    callback?: UdpSendCallback,
  ): void {
    const job = outgoing({ data, port, host, options, callback }, this.#settings.parseTarget, this.#limitFor)
    if (this.#end !== undefined) throw notRunning(this.#end.error)
    const { destination } = job
    if (destination.type === 'domain' && this.#routes !== undefined) {
      this.#routes.route(destination, job, performance.now())
    } else this.#transmit(job, destination)
  }

  /** Near address of the socket, as `dgram` tells it. */
  address(): AddressInfo {
    const { host, port } = this.#socket.address
    return { address: host, family: host.includes(':') ? 'IPv6' : 'IPv4', port }
  }

  /** Bytes of the largest payload to `host`: 65,507 less a header of 10 (IPv4), 22 (IPv6) or 7 and the name. */
  maxPayload(host: string): number {
    return this.#limitFor(this.#settings.parseTarget(host, 1))
  }

  /** Whether it is over. */
  get closed(): boolean {
    return this.#end !== undefined
  }

  /** A copy of the counters. */
  stats(): UdpAssociationStats {
    const fragment = this.#dropped.fragment + (this.#reassembly?.dropped ?? 0)
    return { ...this.#moved, dropped: { ...this.#dropped, fragment } }
  }

  /** Ends the association, at once and without an error: the socket and the control connection. May be called again. */
  close(): void {
    this.#finish(undefined)
  }

  /** As `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  /**
   * The datagrams from now on. Each loop has a queue of its own; when it is full the oldest is dropped and counted. The
   * loop ends with `close()` and throws what else ended the association. Leaving the loop closes nothing.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<UdpMessage> {
    const queue = new MessageQueue<UdpMessage>(this.#settings.maxQueued, () => this.#queues.delete(queue))
    if (this.#end === undefined) this.#queues.add(queue)
    else queue.end(this.#end.error)
    return queue
  }

  async #connect(relay: SocketAddress): Promise<void> {
    const failure: unknown = await this.#socket.connect(relay).catch((error: unknown) => error)
    if (this.#end !== undefined) throw this.#end.error ?? this.#settings.signal?.reason ?? failure
    if (failure === undefined) return
    this.#finish(undefined)
    throw failure
  }

  readonly #onAbort = (): void => this.#finish(undefined)

  readonly #onControlEnd = (): void => this.#finish(ended(this.#settings.control.errored ?? undefined))

  readonly #onControlError = (error: Error): void => this.#finish(ended(error))

  #finish(error: SocksError | undefined): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    const { control, signal } = this.#settings
    signal?.removeEventListener('abort', this.#onAbort)
    control.off('end', this.#onControlEnd)
    control.off('error', this.#onControlError)
    control.off('close', this.#onControlEnd)
    control.destroy()
    this.#socket.close()
    this.#sweeper.stop()
    this.#routes?.close()
    this.#reassembly?.reset()
    for (const queue of this.#queues) queue.end(error)
    this.#queues.clear()
    process.nextTick(() => {
      if (error !== undefined && this.listenerCount('error') > 0) this.emit('error', error)
      this.emit('close')
    })
  }

  #routesBy(resolve: Decide): Routes<Outgoing> {
    return new Routes({
      decide: resolve,
      nat: 'full-cone',
      maxMappings: 1_024,
      idleTimeoutMs: 120_000,
      decisionTtlMs: 60_000,
      decisionTimeoutMs: 10_000,
      sizeOf: ({ size }) => size,
      transmit: (job, { destination }, target) => this.#transmit(job, { ...target, port: destination.port }),
      onDrop: (job, reason, cause) => this.#giveUp(job, reason, cause),
      onRemoved: () => {},
      onFamilyUnused: () => {},
      onFailure: () => {},
    })
  }

  readonly #limitFor = (destination: Destination): number => {
    // Looked up here, a name becomes an address, of IPv6 at worst.
    const isName = destination.type === 'domain' && this.#routes !== undefined
    return maxPayloadBytes(isName ? { type: 'ipv6', host: '::' } : destination)
  }

  #transmit(job: Outgoing, address: Address): void {
    const onSent = afterAll(job)
    let taken = 0
    for (const { fragment, payload } of job.pieces) {
      const header = encodeUdpHeader({ fragment, address })
      if (this.#socket.send([header, payload], undefined, undefined, onSent)) taken++
      else if (onSent !== undefined) process.nextTick(onSent, tooMany(), 0)
    }
    if (taken < job.pieces.length) {
      this.#dropped.unsent++
      return
    }
    this.#moved.datagramsSent++
    this.#moved.bytesSent += job.size
  }

  #giveUp({ callback, destination }: Outgoing, reason: RouteDrop, cause: unknown): void {
    this.#dropped.unsent++
    if (callback === undefined) return
    const error = reason === 'backlog' ? tooMany() : noAddress(destination, cause)
    process.nextTick(callback, this.#end === undefined ? error : notRunning(this.#end.error), 0)
  }

  readonly #onDatagram = (data: Buffer): void => {
    const datagram = decoded(data)
    if (datagram === undefined) {
      this.#dropped.malformed++
      return
    }
    if (datagram.fragment !== 0 && this.#reassembly === undefined) {
      this.#dropped.fragment++
      return
    }
    const whole = this.#reassembly === undefined ? datagram : this.#reassembly.receive(datagram, performance.now())
    this.#sweeper.arm(this.#reassembly?.expiresAt)
    if (whole !== undefined) this.#deliver(whole)
  }

  #deliver({ address, payload }: WholeDatagram): void {
    const from = senderOf(address, payload.length)
    if (from === undefined) {
      this.#dropped.malformed++
      return
    }
    const data = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
    this.#moved.datagramsReceived++
    this.#moved.bytesReceived += data.length
    for (const queue of this.#queues) if (!queue.push({ data, ...from })) this.#dropped.overflow++
    this.emit('message', data, from)
  }
}

const FAMILIES = { ipv4: 'IPv4', ipv6: 'IPv6', domain: 'domain' } as const

function senderOf(wire: Address, size: number): UdpSender | undefined {
  try {
    const { type, host, port } = toDestination(wire)
    return { address: host, family: FAMILIES[type], port, size }
  } catch {
    // A name that nobody should see.
    return undefined
  }
}
