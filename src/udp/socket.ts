import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import type { AddressInfo } from 'node:net'

/** A local or remote address of a socket, as the system writes it. */
export interface SocketAddress {
  readonly host: string
  readonly port: number
}

/** Addresses of our own sockets, to which nothing may be relayed: it would come back for ever, or pass for somebody else. */
export interface AddressRegistry {
  /** `family`: the socket takes nothing of the other one, in which somebody else may have the port. */
  add(host: string, port: number, family: 'ipv4' | 'ipv6' | undefined): void
  /** Takes away what was added with the same arguments. */
  remove(host: string, port: number, family: 'ipv4' | 'ipv6' | undefined): void
  /** Whether a datagram to that canonical IP literal and port would reach one of them. */
  has(host: string, port: number): boolean
}

/** Options of {@link UdpSocket}. None of the functions may throw. */
export interface UdpSocketOptions {
  /** Local address, an IP literal. */
  readonly host: string
  /** 0, the default, takes a free one. */
  readonly port?: number | undefined
  /** Keeps IPv4 peers, in the form of mapped addresses, from a socket on `::`. Default `false`. */
  readonly ipv6Only?: boolean | undefined
  readonly registry?: AddressRegistry | undefined
  readonly onMessage: (data: Buffer, from: RemoteInfo) => void
  /** The system has reported an error; the socket goes on. */
  readonly onError: (error: Error) => void
}

/** Tells that a datagram has left, or not, as `dgram` does: later, and on success with all its bytes. */
export type SentCallback = (error: Error | null, bytes: number) => void

// What the system does not take at once waits in memory, without a bound of its own.
const MAX_QUEUED = 256

/**
 * A bound datagram socket that throws nothing once it exists, and asks no resolver. In a cluster worker it is of that
 * worker alone: Node would share one port between workers, and mix up whom an answer is for.
 */
export class UdpSocket {
  readonly #options: UdpSocketOptions
  readonly #socket: Socket
  #address: SocketAddress
  #remote: SocketAddress | undefined
  #isClosed = false

  /** Binds at once. @throws the system's error, `EADDRINUSE` or `EMFILE` say. */
  constructor(options: UdpSocketOptions) {
    const { host, port = 0, ipv6Only = false } = options
    let failure: Error | undefined
    const onBindError = (error: Error): void => {
      failure = error
    }
    this.#options = options
    this.#socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', ipv6Only, lookup: literalsOnly })
    this.#socket.on('error', onBindError)
    // With a lookup that answers at once, Node has bound the socket, or told why not, when this returns.
    this.#socket.bind({ address: host, port, exclusive: true })
    try {
      if (failure !== undefined) throw failure
      this.#address = addressOf(this.#socket.address())
    } catch (error) {
      this.#socket.close()
      throw error
    }
    this.#socket.off('error', onBindError)
    this.#socket.on('error', options.onError)
    this.#socket.on('message', this.#onMessage)
    options.registry?.add(this.address.host, this.address.port, this.#family)
  }

  /** Near address. */
  get address(): SocketAddress {
    return this.#address
  }

  /** From now on takes datagrams of this one alone, and sends to it alone. Rejects with the system's error. */
  connect({ host, port }: SocketAddress): Promise<void> {
    return new Promise((resolve, reject) => {
      // Node calls back with an error, of which its types do not know.
      const onConnect: (error?: Error) => void = (error) => {
        try {
          if (error !== undefined) throw error
          this.#remote = addressOf(this.#socket.remoteAddress())
          // The system has chosen an address to send from.
          this.#address = addressOf(this.#socket.address())
          resolve()
        } catch (reason) {
          // Its own error, or that it was closed meanwhile.
          reject(reason)
        }
      }
      this.#socket.connect(port, host, onConnect)
    })
  }

  /**
   * Sends one datagram, made of parts or not; without port and host to the one it is connected to. `false`: not taken.
   * What the system says to a datagram that it was offered is told to the callback alone, which costs a fifth of what a
   * relay can carry.
   */
  send(data: Uint8Array | readonly Uint8Array[], port?: number, host?: string, callback?: SentCallback): boolean {
    if (this.#isClosed) return false
    try {
      if (this.#socket.getSendQueueCount() >= MAX_QUEUED) return false
      if (port === undefined) this.#socket.send(data, callback)
      else this.#socket.send(data, port, host, callback)
      return true
    } catch {
      // Port 0, for one, throws.
      return false
    }
  }

  /** At once: nothing is sent or received after it. What the system has not taken yet is lost. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#options.registry?.remove(this.address.host, this.address.port, this.#family)
    this.#socket.off('message', this.#onMessage)
    this.#socket.close()
  }

  /** The one family that it takes; `undefined`: both. */
  get #family(): 'ipv4' | 'ipv6' | undefined {
    const { host, ipv6Only = false } = this.#options
    if (!host.includes(':')) return 'ipv4'
    return ipv6Only ? 'ipv6' : undefined
  }

  readonly #onMessage = (data: Buffer, from: RemoteInfo): void => {
    // What came between bind and connect may be of anybody.
    const remote = this.#remote
    if (remote !== undefined && (from.port !== remote.port || from.address !== remote.host)) return
    this.#options.onMessage(data, from)
  }
}

function addressOf({ address, port }: AddressInfo): SocketAddress {
  return { host: address, port }
}

function literalsOnly(host: string, _options: unknown, callback: LookupCallback): void {
  callback(null, host, host.includes(':') ? 6 : 4)
}

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string, family: number) => void
