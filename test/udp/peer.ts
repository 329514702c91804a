// Without the test runner, for programs that run by themselves.

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { Address } from '../../src/codec/index.js'

/** A datagram that a peer has received. */
export interface Received {
  readonly data: Buffer
  readonly from: RemoteInfo
}

const OPEN = new Set<Peer>()

/** A datagram socket of a test that keeps what it gets until somebody asks. */
export class Peer {
  readonly socket: Socket
  readonly host: string
  readonly #received: Received[] = []
  readonly #waiting: ((received: Received) => void)[] = []

  private constructor(socket: Socket, host: string) {
    this.socket = socket
    this.host = host
    OPEN.add(this)
    socket.on('error', () => {})
    socket.on('message', (data, from) => {
      const waiter = this.#waiting.shift()
      if (waiter === undefined) this.#received.push({ data, from })
      else waiter({ data, from })
    })
  }

  static async open(host = '127.0.0.1', port = 0): Promise<Peer> {
    // Large enough for a burst of the largest datagrams.
    const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4_194_304 })
    socket.bind(port, host)
    await once(socket, 'listening')
    return new Peer(socket, host)
  }

  /** Sends back whatever it gets. */
  static async echo(host?: string): Promise<Peer> {
    const peer = await Peer.open(host)
    peer.socket.on('message', (data, from) => peer.socket.send(data, from.port, from.address))
    return peer
  }

  get port(): number {
    return this.socket.address().port
  }

  get address(): Address {
    return { type: this.host.includes(':') ? 'ipv6' : 'ipv4', host: this.host, port: this.port }
  }

  /** The next datagram, or the oldest that nobody asked for. */
  next(): Promise<Received> {
    const received = this.#received.shift()
    return received === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(received)
  }

  /** What has come and nobody asked for. */
  get pending(): number {
    return this.#received.length
  }

  /** Resolves when the system has taken it. */
  send(data: Uint8Array, to: { readonly port: number; readonly host: string }): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.send(data, to.port, to.host, (error) => (error ? reject(error) : resolve()))
    })
  }

  close(): void {
    if (OPEN.delete(this)) this.socket.close()
  }

  static closeAll(): void {
    for (const peer of OPEN) peer.close()
  }
}
