import { networkInterfaces } from 'node:os'
import { isUnspecified, withoutZone } from '../codec/destination.js'
import { canonicalIP, classifyIP, parseIP } from '../codec/index.js'

/**
 * The listeners of the front doors that share one way out. A proxy that dials itself can be made to do so for ever, and
 * its own requests would come from loopback, where more is allowed.
 */
export class OwnAddresses {
  readonly #listeners = new Map<string, Listener>()

  /** Adds a listener by its bound address. `family`: bound to all addresses, it is reached by those of this one alone. */
  add(host: string, port: number, family?: Family): void {
    // The zone of a link-local address names an interface of this host, and no part of what is dialed.
    const literal = canonicalIP(withoutZone(host))
    const key = `${host} ${port} ${family}`
    // Several may listen on one address (SO_REUSEPORT).
    const count = (this.#listeners.get(key)?.count ?? 0) + 1
    this.#listeners.set(key, { host: literal?.host ?? host, port, family, count })
  }

  /** Removes a listener that was added with the same arguments. */
  remove(host: string, port: number, family?: Family): void {
    const key = `${host} ${port} ${family}`
    const listener = this.#listeners.get(key)
    if (listener === undefined || listener.count === 1) this.#listeners.delete(key)
    else this.#listeners.set(key, { ...listener, count: listener.count - 1 })
  }

  /** Whether dialing `host` (a canonical IP literal) and `port` would reach one of the listeners. */
  has(host: string, port: number): boolean {
    for (const listener of this.#listeners.values()) {
      if (listener.port !== port) continue
      // Systems connect the unspecified address to themselves.
      if (listener.host === host || isUnspecified(host)) return true
      // Ports belong to a family: of thousands of relays, one has for IPv6 the port of somebody's IPv4 target.
      const isOther = listener.family !== undefined && listener.family !== (host.includes(':') ? 'ipv6' : 'ipv4')
      if (isUnspecified(listener.host) && !isOther && isOwn(host)) return true
    }
    return false
  }
}

type Family = 'ipv4' | 'ipv6'

interface Listener {
  readonly host: string
  readonly port: number
  readonly family: Family | undefined
  readonly count: number
}

function isOwn(host: string): boolean {
  const bytes = parseIP(host)
  if (bytes !== undefined && ['loopback', 'unspecified'].includes(classifyIP(bytes))) return true
  return hostAddresses().has(host)
}

/** How long the addresses of this host are taken to be the same, in milliseconds: to list them takes milliseconds where there are many. */
const FRESH_MS = 1_000

let known: ReadonlySet<string> = new Set()
let knownAt = Number.NEGATIVE_INFINITY

function hostAddresses(): ReadonlySet<string> {
  const now = performance.now()
  if (now - knownAt > FRESH_MS) {
    known = new Set(
      Object.values(networkInterfaces())
        .flat()
        .flatMap((entry) => (entry === undefined ? [] : [entry.address])),
    )
    knownAt = now
  }
  return known
}
