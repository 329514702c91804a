import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { SocksError } from '../codec/index.js'
import {
  assertProtected,
  type ListenAddress,
  type ListenOptions,
  type ListenPath,
  nodeListenOptions,
} from './listen-options.js'
import type { OwnAddresses } from './own-addresses.js'

/** What the owner of listeners is told. */
export interface ListenersOwner {
  /** A client has connected; `isUnix`: by a Unix socket, which only this host's own users can reach. */
  onSocket(socket: Socket, isUnix: boolean): void
  onError(error: Error): void
}

/** Errors of accept that say that the process, or the system, has no room for one more socket. */
const EXHAUSTED = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'])

/** Whether an error of a listener says that descriptors or memory have run out. */
export function isExhausted(error: Error): boolean {
  return EXHAUSTED.has(String(Reflect.get(error, 'code')))
}

/** Everything that a front door listens on. */
export class Listeners {
  readonly #open = new Map<Server, ListenAddress | ListenPath>()
  readonly #own: OwnAddresses
  readonly #owner: ListenersOwner
  #isClosed = false

  /** `own`: told of each address, so that the way out never dials it. */
  constructor(own: OwnAddresses, owner: ListenersOwner) {
    this.#own = own
    this.#owner = owner
  }

  get addresses(): readonly (ListenAddress | ListenPath)[] {
    return [...this.#open.values()]
  }

  /** Rejects with `ERR_SOCKS_OPEN_PROXY`, `ERR_SOCKS_SERVER_CLOSED` or the system's error. @throws as `nodeListenOptions`. */
  async listen(where: number | ListenOptions, isProtected: boolean): Promise<ListenAddress | ListenPath> {
    const options = await nodeListenOptions(where, isProtected)
    if (this.#isClosed) throw serverClosed()
    let isUnix = 'path' in options
    const listener: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      // Reset before it was accepted (health checks do): it has no address that a rule could judge, and hears nothing.
      if (!isUnix && socket.remoteAddress === undefined) socket.destroy()
      else this.#owner.onSocket(socket, isUnix)
    })
    listener.listen(options)
    await once(listener, 'listening')
    const address = addressOf(listener)
    isUnix = 'path' in address
    try {
      if (this.#isClosed) throw serverClosed()
      // What a descriptor is bound to is known only now.
      if ('host' in address) assertProtected(address.host, address.host, isProtected)
    } catch (error) {
      listener.close()
      throw error
    }
    listener.on('error', (error) => this.#owner.onError(error))
    if ('host' in address) this.#own.add(address.host, address.port)
    this.#open.set(listener, address)
    return address
  }

  /** Stops accepting at once. What was accepted is its owners' to end, which may be others than this server. */
  close(): void {
    this.#isClosed = true
    const open = [...this.#open]
    this.#open.clear()
    for (const [listener, address] of open) {
      if ('host' in address) this.#own.remove(address.host, address.port)
      listener.close()
    }
  }
}

/** What a front door says that is closed. */
export function serverClosed(): SocksError {
  return new SocksError('ERR_SOCKS_SERVER_CLOSED', 'the server is closed')
}

function addressOf(listener: Server): ListenAddress | ListenPath {
  const address = listener.address()
  if (typeof address === 'object' && address !== null) return { host: address.address, port: address.port }
  // A descriptor of a Unix socket without a name has no path.
  return { path: address ?? '' }
}
