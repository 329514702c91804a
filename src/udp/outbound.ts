import type { RemoteInfo } from 'node:dgram'
import type { UdpTarget } from './mapping.js'
import { type AddressRegistry, UdpSocket } from './socket.js'

type Family = UdpTarget['type']

/** Options of {@link OutboundSockets}. None of the functions may throw. */
export interface OutboundSocketsOptions {
  /** Canonical IP literal to send from. Nothing is sent to addresses of the other family, then. */
  readonly localAddress: string | undefined
  readonly registry: AddressRegistry | undefined
  readonly onMessage: (data: Buffer, from: RemoteInfo) => void
  /** Something was wrong with one datagram. */
  readonly onError: (error: Error) => void
  /** A socket could not be bound. The next datagram tries again. */
  readonly onUnavailable: (error: unknown) => void
}

/** The sockets from which one association talks to its targets: one for each family, made when it is first needed. */
export class OutboundSockets {
  readonly #options: OutboundSocketsOptions
  readonly #sockets: Record<Family, UdpSocket | undefined> = { ipv4: undefined, ipv6: undefined }

  constructor(options: OutboundSocketsOptions) {
    this.#options = options
  }

  /** The socket for targets of that family; `undefined` where there can be none. */
  socketFor(type: Family): UdpSocket | undefined {
    return this.#sockets[type] ?? this.#open(type)
  }

  /** Closes the socket of that family, and with it the way back. */
  release(type: Family): void {
    this.#sockets[type]?.close()
    this.#sockets[type] = undefined
  }

  close(): void {
    this.release('ipv4')
    this.release('ipv6')
  }

  #open(type: Family): UdpSocket | undefined {
    const { localAddress, registry, onMessage, onError, onUnavailable } = this.#options
    const host = localAddress ?? (type === 'ipv4' ? '0.0.0.0' : '::')
    if (host.includes(':') !== (type === 'ipv6')) return undefined
    try {
      const socket = new UdpSocket({ host, ipv6Only: type === 'ipv6', registry, onMessage, onError })
      this.#sockets[type] = socket
      return socket
    } catch (error) {
      onUnavailable(error)
      return undefined
    }
  }
}
