import type { Address, Destination } from '../codec/index.js'
import { type IdleEntry, IdleMap } from './idle-map.js'

/** An address that datagrams are sent to, as a canonical IP literal. */
export interface UdpTarget {
  readonly type: 'ipv4' | 'ipv6'
  readonly host: string
}

/**
 * Who may answer through a mapping, in the words of RFC 4787 section 5. `restricted`: address-dependent filtering, only IP
 * addresses that the client has sent to, from any port of theirs. `full-cone`: endpoint-independent filtering, anybody.
 */
export type UdpNat = 'restricted' | 'full-cone'

/** A destination that the client has sent to, and what became of it. */
export class Mapping {
  readonly destination: Destination
  /** When to ask again whether and where to send, on the table's clock. */
  renewAt: number = Number.NEGATIVE_INFINITY
  /** Why nothing is sent, while there is no target. */
  refusal: 'denied' | 'failed' = 'failed'
  /** Whether the system has taken a datagram for the target. */
  isProven = false
  /** The destination as the client wrote it last, as a key; empty where it is not known by one. */
  wire = ''
  /** The destination as the client wrote it last, where its replies shall say so. */
  requested: Address | undefined
  /** Header of a reply from the target itself, once there was one. */
  replyHeader: Uint8Array | undefined
  /** @internal Its place in the table. */
  entry: IdleEntry<Mapping> | undefined
  #target: UdpTarget | undefined

  constructor(destination: Destination) {
    this.destination = destination
  }

  /** Where its datagrams go; `undefined` while that is not known, and when they may not. */
  get target(): UdpTarget | undefined {
    return this.#target
  }

  /** @internal For the table, which has to know. */
  set target(target: UdpTarget | undefined) {
    this.#target = target
    this.isProven = false
    this.replyHeader = undefined
  }
}

/** Options of {@link MappingTable}. */
export interface MappingTableOptions {
  readonly maxMappings: number
  /** Milliseconds without a datagram either way (RFC 4787 section 4.3); 0 is never. */
  readonly idleTimeoutMs: number
  readonly nat: UdpNat
  /** A mapping has left the table. */
  readonly onRemoved: (mapping: Mapping) => void
  /** The last mapping with a target of that family has gone. */
  readonly onFamilyUnused: (type: UdpTarget['type']) => void
}

/**
 * The destinations that one client has sent to, and with them who may answer. Pure: the caller brings the clock, in
 * milliseconds, which must not go back. When it is full, the mapping that was unused for longest goes.
 */
export class MappingTable {
  readonly #options: MappingTableOptions
  readonly #mappings: IdleMap<Mapping>
  readonly #byHost = new Map<string, Set<Mapping>>()
  readonly #byPeer = new Map<string, Mapping>()
  readonly #targets = { ipv4: 0, ipv6: 0 }

  constructor(options: MappingTableOptions) {
    const { maxMappings, idleTimeoutMs } = options
    this.#options = options
    this.#mappings = new IdleMap({
      maxEntries: maxMappings,
      idleTimeoutMs,
      onRemoved: (mapping) => {
        mapping.entry = undefined
        this.aim(mapping, undefined)
        options.onRemoved(mapping)
      },
    })
  }

  get size(): number {
    return this.#mappings.size
  }

  /** When the next mapping is idle, unless it is used before; `undefined` for never. */
  get nextExpiryAt(): number | undefined {
    return this.#mappings.nextExpiryAt
  }

  /** The mapping of a destination that the client sends to now, which is a use of it. */
  find({ host, port }: Destination, now: number): Mapping | undefined {
    const known = this.#mappings.get(keyOf(host, port))
    return known !== undefined && this.#mappings.use(known, now) ? known.value : undefined
  }

  /** A mapping for a destination that has none. */
  add(destination: Destination, now: number): Mapping {
    const mapping = new Mapping(destination)
    mapping.entry = this.#mappings.add(keyOf(destination.host, destination.port), mapping, now)
    return mapping
  }

  /** The mapping is used now. `false`: it has left the table. */
  use({ entry }: Mapping, now: number): boolean {
    return entry !== undefined && this.#mappings.use(entry, now)
  }

  /** Sends the mapping's datagrams to `target` from now on, or nowhere. Of mappings with one target, the latest answers for it. */
  aim(mapping: Mapping, target: UdpTarget | undefined): void {
    const { target: former } = mapping
    // One that has left the table must not come back into its indexes.
    if (target !== undefined && mapping.entry === undefined) return
    const isSame = former?.host === target?.host
    // In this order: a family that stays in use never counts as unused.
    if (target !== undefined) this.#index(mapping, target)
    if (isSame) return
    mapping.target = target
    if (former !== undefined) this.#unindex(mapping, former)
  }

  /** The mapping whose target has sent a datagram, which is a use of it. `host` as the system writes it. */
  answeredBy(host: string, port: number, now: number): Mapping | undefined {
    this.expire(now)
    const mapping = this.#byPeer.get(keyOf(host, port))
    if (mapping !== undefined) this.use(mapping, now)
    return mapping
  }

  /** Whether a datagram from that canonical IP literal, whatever its port, may go to the client. A use of its mapping, too. */
  admits(host: string, now: number): boolean {
    this.expire(now)
    const [mapping] = this.#byHost.get(host) ?? []
    if (mapping !== undefined) this.use(mapping, now)
    return mapping !== undefined || this.#options.nat === 'full-cone'
  }

  /** Removes the mappings that have been idle for too long. */
  expire(now: number): void {
    this.#mappings.expire(now)
  }

  clear(): void {
    this.#mappings.clear()
  }

  #index(mapping: Mapping, target: UdpTarget): void {
    const mappings = this.#byHost.get(target.host)
    if (mappings === undefined) this.#byHost.set(target.host, new Set([mapping]))
    else {
      // A Set is in the order of insertion: the latest is the last.
      mappings.delete(mapping)
      mappings.add(mapping)
    }
    this.#byPeer.set(keyOf(target.host, mapping.destination.port), mapping)
    if (mapping.target?.host !== target.host) this.#targets[target.type]++
  }

  #unindex(mapping: Mapping, { type, host }: UdpTarget): void {
    const key = keyOf(host, mapping.destination.port)
    const mappings = this.#byHost.get(host) ?? new Set<Mapping>()
    mappings.delete(mapping)
    if (mappings.size === 0) this.#byHost.delete(host)
    if (this.#byPeer.get(key) === mapping) {
      // Another one with the same target, there by another name, answers for it from now on.
      const others = [...mappings].filter(({ destination }) => destination.port === mapping.destination.port)
      const other = others.at(-1)
      if (other === undefined) this.#byPeer.delete(key)
      else this.#byPeer.set(key, other)
    }
    this.#targets[type]--
    if (this.#targets[type] === 0) this.#options.onFamilyUnused(type)
  }
}

function keyOf(host: string, port: number): string {
  return `${host} ${port}`
}
