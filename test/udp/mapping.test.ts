import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Destination } from '../../src/codec/index.js'
import { type Mapping, MappingTable, type UdpNat, type UdpTarget } from '../../src/udp/mapping.js'

const IDLE_MS = 100

function table(options: { maxMappings?: number; idleTimeoutMs?: number; nat?: UdpNat } = {}) {
  const removed: Mapping[] = []
  const unused: string[] = []
  const mappings = new MappingTable({
    maxMappings: 8,
    idleTimeoutMs: IDLE_MS,
    nat: 'restricted',
    ...options,
    onRemoved: (mapping) => removed.push(mapping),
    onFamilyUnused: (type) => unused.push(type),
  })
  return { mappings, removed, unused }
}

function take(mappings: MappingTable, destination: Destination, now: number): Mapping {
  return mappings.find(destination, now) ?? mappings.add(destination, now)
}

function name(host: string, port = 53): Destination {
  return { type: 'domain', host, port }
}

function ipv4(host: string): UdpTarget {
  return { type: 'ipv4', host }
}

describe('MappingTable', () => {
  it('S116 restricted: an address the client has sent to may answer, from any port; no other may', () => {
    const { mappings } = table()
    const mapping = take(mappings, name('a.test'), 0)
    expect(mappings.admits('192.0.2.1', 0)).toBe(false)
    mappings.aim(mapping, ipv4('192.0.2.1'))
    expect(mappings.admits('192.0.2.1', 0)).toBe(true)
    expect(mappings.admits('192.0.2.2', 0)).toBe(false)
    expect(mappings.answeredBy('192.0.2.1', 53, 0)).toBe(mapping)
    expect(mappings.answeredBy('192.0.2.1', 54, 0)).toBeUndefined()
    mappings.aim(mapping, undefined)
    expect(mappings.admits('192.0.2.1', 0)).toBe(false)
  })

  it('S116 full-cone: anybody may answer', () => {
    expect(table({ nat: 'full-cone' }).mappings.admits('192.0.2.9', 0)).toBe(true)
  })

  it('S121 when it is full, the mapping that was unused for longest goes', () => {
    const { mappings, removed } = table({ maxMappings: 2 })
    const a = take(mappings, name('a.test'), 0)
    mappings.aim(a, ipv4('192.0.2.1'))
    const b = take(mappings, name('b.test'), 1)
    mappings.answeredBy('192.0.2.1', 53, 2)
    take(mappings, name('c.test'), 3)
    expect(removed).toEqual([b])
    expect(mappings.use(b, 3)).toBe(false)
    expect(mappings.use(a, 3)).toBe(true)
  })

  it('S121 a mapping ends when it was idle for the whole time, whichever way it was used before', () => {
    const { mappings, removed, unused } = table()
    const a = take(mappings, name('a.test'), 0)
    mappings.aim(a, ipv4('192.0.2.1'))
    expect(mappings.nextExpiryAt).toBe(IDLE_MS)
    mappings.admits('192.0.2.1', 50)
    mappings.expire(149)
    expect(mappings.size).toBe(1)
    expect(mappings.nextExpiryAt).toBe(150)
    expect(mappings.admits('192.0.2.1', 150)).toBe(false)
    expect(removed).toEqual([a])
    expect(unused).toEqual(['ipv4'])
    expect(take(mappings, name('a.test'), 150)).not.toBe(a)
  })

  it('S121 with an idle timeout of 0 none ever ends', () => {
    const { mappings } = table({ idleTimeoutMs: 0 })
    take(mappings, name('a.test'), 0)
    expect(mappings.nextExpiryAt).toBeUndefined()
    mappings.expire(Number.MAX_SAFE_INTEGER)
    expect(mappings.size).toBe(1)
  })

  it('S115 of names with one address the latest answers for it; when it goes, another one does', () => {
    const { mappings } = table()
    const [a, b] = [take(mappings, name('a.test'), 0), take(mappings, name('b.test'), 0)]
    for (const mapping of [a, b]) mappings.aim(mapping, ipv4('192.0.2.1'))
    expect(mappings.answeredBy('192.0.2.1', 53, 0)).toBe(b)
    mappings.aim(a, ipv4('192.0.2.1'))
    expect(mappings.answeredBy('192.0.2.1', 53, 0)).toBe(a)
    mappings.aim(a, ipv4('192.0.2.2'))
    expect(mappings.answeredBy('192.0.2.1', 53, 0)).toBe(b)
  })

  it('S124 tells when a family is unused, and not while a mapping moves within it', () => {
    const { mappings, unused } = table()
    const mapping = take(mappings, name('a.test'), 0)
    mappings.aim(mapping, ipv4('192.0.2.1'))
    mappings.aim(mapping, ipv4('192.0.2.2'))
    expect(unused).toEqual([])
    mappings.aim(mapping, { type: 'ipv6', host: '2001:db8::1' })
    expect(unused).toEqual(['ipv4'])
    mappings.clear()
    expect(unused).toEqual(['ipv4', 'ipv6'])
  })

  it('a mapping that has left the table does not come back into it', () => {
    const { mappings } = table()
    const mapping = take(mappings, name('a.test'), 0)
    mappings.clear()
    mappings.aim(mapping, ipv4('192.0.2.1'))
    expect(mappings.admits('192.0.2.1', 0)).toBe(false)
    expect(mapping.target).toBeUndefined()
  })
})

/** The same by looking through a list, newest use last. */
class Model {
  entries: { destination: Destination; target: UdpTarget | undefined; aimedAt: number; usedAt: number }[] = []
  readonly maxMappings: number
  #turn = 0

  constructor(maxMappings: number) {
    this.maxMappings = maxMappings
  }

  take(destination: Destination, now: number) {
    this.expire(now)
    const known = this.entries.find((entry) => entry.destination === destination)
    if (known !== undefined) this.use(known, now)
    else {
      if (this.entries.length === this.maxMappings) this.entries.shift()
      this.entries.push({ destination, target: undefined, aimedAt: 0, usedAt: now })
    }
  }

  aim(destination: Destination, target: UdpTarget | undefined) {
    const entry = this.entries.find((candidate) => candidate.destination === destination)
    if (entry === undefined) return
    entry.target = target
    this.#turn++
    entry.aimedAt = this.#turn
  }

  answeredBy(host: string, port: number, now: number): Destination | undefined {
    this.expire(now)
    const [latest] = this.entries
      .filter(({ target, destination }) => target?.host === host && destination.port === port)
      .sort((a, b) => b.aimedAt - a.aimedAt)
    if (latest !== undefined) this.use(latest, now)
    return latest?.destination
  }

  has(host: string, now: number): boolean {
    this.expire(now)
    return this.entries.some(({ target }) => target?.host === host)
  }

  use(entry: (typeof this.entries)[number], now: number) {
    entry.usedAt = now
    this.entries = [...this.entries.filter((other) => other !== entry), entry]
  }

  expire(now: number) {
    this.entries = this.entries.filter(({ usedAt }) => now < usedAt + IDLE_MS)
  }
}

const DESTINATIONS = [...['a', 'b', 'c', 'd'].map((host) => name(`${host}.test`, 1)), name('a.test', 2)]
const HOSTS = ['192.0.2.1', '192.0.2.2', '2001:db8::1']
const targets = fc.constantFrom<UdpTarget | undefined>(
  ipv4('192.0.2.1'),
  ipv4('192.0.2.1'),
  ipv4('192.0.2.2'),
  { type: 'ipv6', host: '2001:db8::1' },
  undefined,
)
const actions = fc.array(
  fc.tuple(
    fc.constantFrom('take', 'take', 'take', 'aim', 'aim', 'aim', 'answered', 'clear'),
    fc.constantFrom(...DESTINATIONS),
    targets,
    fc.oneof({ arbitrary: fc.constantFrom(0, 1), weight: 30 }, fc.constantFrom(30, 120)),
  ),
  { minLength: 20, maxLength: 80, size: 'max' },
)

describe('MappingTable against a model', () => {
  it('S116 S121 the same mappings in the same order, the same answers, and each one removed once', () => {
    fc.assert(
      fc.property(actions, fc.integer({ min: 1, max: 6 }), (list, maxMappings) => {
        const model = new Model(maxMappings)
        const { mappings, removed } = table({ maxMappings })
        const taken = new Map<Destination, Mapping>()
        const made = new Set<Mapping>()
        let now = 0
        for (const [action, destination, target, pause] of list) {
          now += pause
          const mapping = taken.get(destination)
          const host = target?.host ?? '198.51.100.1'
          if (action === 'take') {
            taken.set(destination, take(mappings, destination, now))
            made.add(taken.get(destination)!)
            model.take(destination, now)
          } else if (action === 'aim' && mapping !== undefined) {
            mappings.expire(now)
            model.expire(now)
            // Aimed twice at one address, it answers for it as if anew.
            mappings.aim(mapping, target)
            model.aim(destination, target)
          } else if (action === 'answered') {
            expect(mappings.answeredBy(host, destination.port, now)?.destination).toBe(
              model.answeredBy(host, destination.port, now),
            )
          } else if (action === 'clear' && pause === 30) {
            mappings.clear()
            model.entries = []
          }
          mappings.expire(now)
          model.expire(now)
          expect(mappings.size).toBe(model.entries.length)
          expect(mappings.nextExpiryAt).toBe(model.entries[0] && model.entries[0].usedAt + IDLE_MS)
        }
        for (const host of HOSTS) {
          for (const port of [1, 2]) {
            expect(mappings.answeredBy(host, port, now)?.destination).toBe(model.answeredBy(host, port, now))
          }
          expect(mappings.admits(host, now)).toBe(model.has(host, now))
        }
        mappings.clear()
        expect(removed.length).toBe(made.size)
        expect(new Set(removed)).toEqual(made)
        for (const host of HOSTS) expect(mappings.admits(host, now)).toBe(false)
      }),
      { numRuns: 300 },
    )
  })
})
