import type { RemoteInfo } from 'node:dgram'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Destination, UdpDatagram } from '../codec/index.js'
import { ClientPin } from './client-pin.js'
import { decoded, destinationOf, headerOf, sourceOf, wireAddress } from './datagram.js'
import type { Mapping, UdpTarget } from './mapping.js'
import { OutboundSockets } from './outbound.js'
import { Reassembly, type WholeDatagram } from './reassembly.js'
import { portsToTry, relaySettings, type UdpRelayOptions, type UdpRelaySettings } from './relay-options.js'
import { noDrops, type UdpDropReason, type UdpRelayStats } from './relay-stats.js'
import { Routes } from './routes.js'
import { MAX_DATAGRAM_BYTES } from './size.js'
import { type SentCallback, type SocketAddress, UdpSocket } from './socket.js'
import { Sweeper } from './sweeper.js'

// Each attempt is a few system calls: other work may come between.
const ATTEMPTS_PER_TURN = 64

/**
 * Opens the relay of one association: a socket for the client, and one for each family of its targets when it is needed.
 * RFC 1928 section 7. It knows nothing of the control connection: who opens it closes it.
 * @throws (rejects) TypeError, RangeError for options; the system's error where nothing could be bound (`EADDRINUSE` for a
 * range that is used up); the signal's reason.
 */
export async function openUdpRelay(options: UdpRelayOptions): Promise<UdpRelay> {
  const settings = relaySettings(options)
  settings.signal?.throwIfAborted()
  let attempts = 0
  let failure: unknown
  for (const port of portsToTry(settings.ports)) {
    try {
      return new UdpRelay(settings, port)
    } catch (error) {
      if (!(error instanceof Error) || Reflect.get(error, 'code') !== 'EADDRINUSE') throw error
      failure = error
    }
    attempts++
    if (attempts % ATTEMPTS_PER_TURN === 0) {
      await nextTurn()
      settings.signal?.throwIfAborted()
    }
  }
  throw failure
}

/** See {@link openUdpRelay}. */
export class UdpRelay {
  readonly #settings: UdpRelaySettings
  readonly #client: UdpSocket
  readonly #pin: ClientPin
  readonly #outbound: OutboundSockets
  readonly #routes: Routes<Uint8Array>
  readonly #reassembly: Reassembly | undefined
  readonly #sweeper: Sweeper
  readonly #closing = new AbortController()
  // One key for each mapping: its destination in the bytes in which the client wrote it last.
  readonly #known = new Map<string, Mapping>()
  readonly #dropped = noDrops()
  readonly #moved = { datagramsUp: 0, bytesUp: 0, datagramsDown: 0, bytesDown: 0 }

  /** Use {@link openUdpRelay}. @throws the system's error. */
  constructor(settings: UdpRelaySettings, port: number) {
    const { host, clientAddress: address, clientPort, relatchAfterMs, registry, localAddress, onError } = settings
    const onSystemError = (): void => this.#drop('system')
    this.#settings = settings
    // First: when it cannot be bound, there is nothing to take back.
    this.#client = new UdpSocket({ host, port, registry, onMessage: this.#onClientDatagram, onError: onSystemError })
    this.#pin = new ClientPin({ address, port: clientPort, relatchAfterMs })
    this.#outbound = new OutboundSockets({
      localAddress,
      registry,
      onMessage: this.#onReply,
      onError: onSystemError,
      onUnavailable: onError,
    })
    this.#routes = new Routes({
      ...settings,
      sizeOf: (payload) => payload.length,
      transmit: this.#transmit,
      onDrop: (_payload, reason) => this.#drop(reason),
      onRemoved: ({ wire }) => this.#known.delete(wire),
      onFamilyUnused: (type) => this.#outbound.release(type),
      onFailure: onError,
    })
    this.#reassembly = settings.reassemble ? new Reassembly() : undefined
    this.#sweeper = new Sweeper((now) => {
      this.#reassembly?.expire(now)
      return this.#reassembly?.expiresAt
    })
    settings.signal?.addEventListener('abort', this.#onAbort)
  }

  /** Where the client sends to: BND of the reply. The host as the system writes it. */
  get address(): SocketAddress {
    return this.#client.address
  }

  /** Where the client sends from; `undefined` before its first valid datagram. The host as the system writes it. */
  get peer(): SocketAddress | undefined {
    return this.#pin.peer
  }

  /** Aborts when the relay closes. */
  get signal(): AbortSignal {
    return this.#closing.signal
  }

  /** A copy of the counters. */
  stats(): UdpRelayStats {
    const fragment = this.#dropped.fragment + (this.#reassembly?.dropped ?? 0)
    return { ...this.#moved, dropped: { ...this.#dropped, fragment }, mappings: this.#routes.table.size }
  }

  /** At once: nothing is sent or received after it, and questions to `decide` are aborted. May be called again. */
  close(): void {
    if (this.#closing.signal.aborted) return
    this.#settings.signal?.removeEventListener('abort', this.#onAbort)
    this.#client.close()
    this.#outbound.close()
    this.#sweeper.stop()
    this.#routes.close()
    this.#reassembly?.reset()
    this.#closing.abort()
  }

  readonly #onAbort = (): void => this.close()

  readonly #onClientDatagram = (data: Buffer, from: RemoteInfo): void => {
    const now = performance.now()
    if (!this.#pin.admits(from.address, from.port, now)) {
      this.#drop('source')
      return
    }
    // Reading the address is most of the work here; one that was read before is known by its bytes (bench/udp.mjs).
    const wire = wireAddress(data)
    const mapping = this.#known.get(wire)
    if (mapping !== undefined && this.#forwardKnown(mapping, data.subarray(3 + wire.length), from, now)) return
    const datagram = decoded(data)
    if (datagram === undefined) this.#drop('malformed')
    else if (datagram.fragment === 0) this.#onWhole(datagram, wire, from, now)
    else this.#onFragment(datagram, from, now)
  }

  #forwardKnown(mapping: Mapping, payload: Buffer, from: RemoteInfo, now: number): boolean {
    if (payload.length > MAX_DATAGRAM_BYTES || !this.#routes.reroute(mapping, payload, now)) return false
    this.#latch(from, now)
    this.#reassembly?.reset()
    // Of names with one address, the one sent to last.
    if (this.#settings.replyAddress === 'request') this.#routes.table.aim(mapping, mapping.target)
    return true
  }

  #onWhole(datagram: UdpDatagram, wire: string, from: RemoteInfo, now: number): void {
    const destination = destinationOf(datagram.address)
    if (destination === undefined) {
      this.#drop('destination')
      return
    }
    this.#latch(from, now)
    // RFC 1928 section 7: a FRAG below the highest one ends the sequence.
    this.#reassembly?.reset()
    this.#forward(destination, datagram, wire, now)
  }

  #onFragment(datagram: UdpDatagram, from: RemoteInfo, now: number): void {
    const reassembly = this.#reassembly
    // Only the address of the first one counts, so that only this one can be valid enough to take the port.
    const isFirst = (datagram.fragment & 0x7f) === 1
    if (reassembly === undefined || (!isFirst && from.port !== this.#pin.peer?.port)) {
      this.#drop('fragment')
      return
    }
    if (isFirst && destinationOf(datagram.address) === undefined) {
      this.#drop('destination')
      return
    }
    if (isFirst) this.#latch(from, now)
    const whole = reassembly.receive(datagram, now)
    this.#sweeper.arm(reassembly.expiresAt)
    const destination = whole && destinationOf(whole.address)
    if (whole !== undefined && destination !== undefined) this.#forward(destination, whole, '', now)
  }

  #latch(from: RemoteInfo, now: number): void {
    if (this.#pin.latch(from.address, from.port, now)) this.#reassembly?.reset()
  }

  #forward(destination: Destination, { address, payload }: WholeDatagram, wire: string, now: number): void {
    if (payload.length > MAX_DATAGRAM_BYTES) {
      this.#drop('oversize')
      return
    }
    const mapping = this.#routes.route(destination, payload, now)
    if (mapping === undefined) return
    this.#known.delete(mapping.wire)
    mapping.wire = wire
    if (wire !== '') this.#known.set(wire, mapping)
    if (this.#settings.replyAddress === 'source') return
    mapping.requested = address
    mapping.replyHeader = undefined
    this.#routes.table.aim(mapping, mapping.target)
  }

  readonly #transmit = (payload: Uint8Array, mapping: Mapping, target: UdpTarget): void => {
    const socket = this.#outbound.socketFor(target.type)
    const callback = mapping.isProven ? undefined : this.#prove(mapping)
    if (socket?.send(payload, mapping.destination.port, target.host, callback) !== true) {
      this.#drop('system')
      return
    }
    this.#moved.datagramsUp++
    this.#moved.bytesUp += payload.length
  }

  #prove(mapping: Mapping): SentCallback {
    return (error) => {
      if (error) this.#drop('system')
      else mapping.isProven = true
    }
  }

  readonly #onReply = (data: Buffer, from: RemoteInfo): void => {
    const now = performance.now()
    const { table } = this.#routes
    const mapping = table.answeredBy(from.address, from.port, now)
    if (mapping !== undefined) {
      mapping.replyHeader ??= headerOf(mapping.requested ?? sourceOf(from))
      this.#reply(mapping.replyHeader, data)
      return
    }
    const source = sourceOf(from)
    if (table.admits(source.host, now)) this.#reply(headerOf(source), data)
    else this.#drop('stranger')
  }

  #reply(header: Uint8Array, data: Buffer): void {
    const { peer } = this.#pin
    if (header.length + data.length > MAX_DATAGRAM_BYTES) this.#drop('oversize')
    else if (peer === undefined || !this.#client.send([header, data], peer.port, peer.host)) this.#drop('system')
    else {
      this.#moved.datagramsDown++
      this.#moved.bytesDown += data.length
    }
  }

  #drop(reason: UdpDropReason): void {
    this.#dropped[reason]++
  }
}
