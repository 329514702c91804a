import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Address } from '../../src/codec/index.js'
import { fragmentPayload, Reassembly } from '../../src/udp/index.js'
import { expectOutOfRange } from '../codec/laws.js'
import { address, byte } from '../support/arbitraries.js'
import { concat, hex, plain, utf8 } from '../support/bytes.js'

const A: Address = { type: 'ipv4', host: '192.0.2.1', port: 53 }
const B: Address = { type: 'ipv4', host: '192.0.2.2', port: 54 }
const LAST = 0x80

/** Texts of the datagrams that come of a list of [FRAG, text, time]. */
function received(list: readonly (readonly [fragment: number, text: string, now?: number])[]): string[] {
  const reassembly = new Reassembly()
  return list.flatMap(([fragment, text, now = 0]) => {
    const whole = reassembly.receive({ fragment, address: A, payload: utf8(text) }, now)
    return whole === undefined ? [] : [Buffer.from(whole.payload).toString()]
  })
}

describe('Reassembly', () => {
  it('K107 puts positions 1 to 127 together, the last with the high bit', () => {
    expect(
      received([
        [1, 'a'],
        [2, 'b'],
        [3 | LAST, 'c'],
      ]),
    ).toEqual(['abc'])
    const all = Array.from({ length: 127 }, (_, index) => [index + 1 === 127 ? 0xff : index + 1, `${index} `] as const)
    expect(received(all)).toEqual([all.map(([, text]) => text).join('')])
  })

  it('K107 FRAG 81 alone is a whole datagram, and so is FRAG 00', () => {
    expect(received([[1 | LAST, 'alone']])).toEqual(['alone'])
    expect(received([[0, 'standalone']])).toEqual(['standalone'])
  })

  it('K107 the address is that of the first fragment', () => {
    const reassembly = new Reassembly()
    reassembly.receive({ fragment: 1, address: A, payload: utf8('a') }, 0)
    expect(reassembly.receive({ fragment: 2 | LAST, address: B, payload: utf8('b') }, 0)?.address).toEqual(A)
  })

  it('K107 a position that is not above the highest ends the sequence, and a 1 begins the next', () => {
    expect(
      received([
        [1, 'a'],
        [1, 'x'],
        [2 | LAST, 'y'],
      ]),
    ).toEqual(['xy'])
    expect(
      received([
        [1, 'a'],
        [2, 'b'],
        [2, 'b'],
        [3 | LAST, 'c'],
      ]),
    ).toEqual([])
    expect(
      received([
        [1, 'a'],
        [2, 'b'],
        [1 | LAST, 'z'],
        [3 | LAST, 'c'],
      ]),
    ).toEqual(['z'])
    expect(
      received([
        [1, 'a'],
        [0, 'between'],
        [2 | LAST, 'b'],
      ]),
    ).toEqual(['between'])
    expect(
      received([
        [1, 'a'],
        [LAST, 'position 0'],
        [2 | LAST, 'b'],
      ]),
    ).toEqual([])
  })

  it('K107 a gap ends the sequence; what comes first without a 1 is dropped', () => {
    expect(
      received([
        [1, 'a'],
        [3 | LAST, 'c'],
        [2, 'b'],
        [3 | LAST, 'c'],
      ]),
    ).toEqual([])
    expect(
      received([
        [2, 'b'],
        [3 | LAST, 'c'],
        [2 | LAST, 'b'],
      ]),
    ).toEqual([])
  })

  it('K107 five seconds after the first fragment the rest is too late, not a millisecond earlier', () => {
    expect(
      received([
        [1, 'a', 0],
        [2 | LAST, 'b', 4_999],
      ]),
    ).toEqual(['ab'])
    expect(
      received([
        [1, 'a', 0],
        [2 | LAST, 'b', 5_000],
      ]),
    ).toEqual([])
    // Fragments in between do not buy time.
    expect(
      received([
        [1, 'a', 0],
        [2, 'b', 4_000],
        [3 | LAST, 'c', 6_000],
      ]),
    ).toEqual([])
    const reassembly = new Reassembly({ timeoutMs: 10_000 })
    reassembly.receive({ fragment: 1, address: A, payload: utf8('a') }, 7)
    expect(reassembly.expiresAt).toBe(10_007)
    reassembly.expire(10_006)
    expect(reassembly.expiresAt).toBe(10_007)
    reassembly.expire(10_007)
    expect(reassembly.expiresAt).toBeUndefined()
    expect(reassembly.dropped).toBe(1)
    for (const timeoutMs of [0, 4_999, Number.NaN]) expectOutOfRange(() => new Reassembly({ timeoutMs }))
  })

  it('K107 holds 65,507 bytes and not one more', () => {
    const half = new Uint8Array(32_000).fill(7)
    const send = (extra: number) => {
      const reassembly = new Reassembly()
      reassembly.receive({ fragment: 1, address: A, payload: half }, 0)
      reassembly.receive({ fragment: 2, address: A, payload: half }, 0)
      return reassembly.receive({ fragment: 3 | LAST, address: A, payload: new Uint8Array(1_507 + extra) }, 0)
    }
    expect(send(0)?.payload.length).toBe(65_507)
    expect(send(1)).toBeUndefined()
  })

  it('K107 fragments are copied: the receive buffer may be used again', () => {
    const reassembly = new Reassembly()
    const buffer = Buffer.from('ab')
    reassembly.receive({ fragment: 1, address: A, payload: buffer.subarray(0, 1) }, 0)
    buffer.fill('x')
    const whole = reassembly.receive({ fragment: 2 | LAST, address: A, payload: utf8('c') }, 0)
    expect(Buffer.from(whole?.payload ?? []).toString()).toBe('ac')
  })
})

/** What one sender sends: a datagram in pieces, with some of them lost, repeated or moved; or anything. */
const burst = fc
  .tuple(fc.integer({ min: 1, max: 5 }), fc.array(fc.tuple(fc.nat(6), fc.nat(6)), { maxLength: 2 }), fc.nat(3))
  .map(([count, swaps, loss]) => {
    const list = Array.from({ length: count }, (_, index) => (index + 1 === count ? (index + 1) | LAST : index + 1))
    for (const [from, to] of swaps) {
      const moved = list[from % list.length]
      if (moved !== undefined) list.splice(to % list.length, from % 2, moved)
    }
    return loss === 0 ? list.slice(1) : list
  })
const fragments = fc.array(fc.oneof({ arbitrary: burst, weight: 4 }, fc.array(byte, { maxLength: 3 })), {
  maxLength: 8,
})

interface Sent {
  readonly sender: number
  readonly fragment: number
  readonly payload: Uint8Array
  readonly now: number
}

/** Fragments of three senders, one after another or mixed, on one clock. */
const traffic: fc.Arbitrary<Sent[]> = fc
  .tuple(
    fc.tuple(fragments, fragments, fragments),
    fc.array(fc.nat(2)),
    fc.array(fc.constantFrom(0, 0, 0, 1, 900, 4_000)),
  )
  .map(([senders, turns, pauses]) => {
    const queues = senders.map((bursts) => bursts.flat())
    const order = [...turns, ...queues.flatMap((queue, sender) => queue.map(() => sender))]
    let now = 0
    return order.flatMap((sender, index) => {
      const fragment = queues[sender]?.shift()
      now += pauses[index % Math.max(pauses.length, 1)] ?? 0
      const payload = utf8(`${sender}.${index};`.repeat(index % 3))
      return fragment === undefined ? [] : [{ sender, fragment, payload, now }]
    })
  })

/**
 * What must come of the last datagram of a history, by looking at the whole of it: a datagram is complete when the
 * latest fragments of its sender are exactly 1, 2 ... n in that order, n with the high bit, within five seconds.
 */
function expectedOf(history: readonly Sent[]): string | undefined {
  const last = history.at(-1)
  if (last === undefined || last.fragment === 0) return last && hex(last.payload)
  const count = last.fragment & 0x7f
  const tail = history.slice(-count)
  const isSequence =
    last.fragment >= LAST && count > 0 && tail.every(({ fragment }, index) => (fragment & 0x7f) === index + 1)
  const isOpen = tail.slice(0, -1).every(({ fragment }) => fragment < LAST)
  const inTime = last.now - (tail[0]?.now ?? 0) < 5_000
  if (tail.length !== count || !isSequence || !isOpen || !inTime) return undefined
  return hex(concat(...tail.map(({ payload }) => payload)))
}

describe('Reassembly against a model', () => {
  it('K107 any order, repeats, loss and pauses, senders mixed: each sender gets what the model says', () => {
    let completed = 0
    fc.assert(
      fc.property(traffic, (sent) => {
        const senders = [new Reassembly(), new Reassembly(), new Reassembly()]
        const histories: Sent[][] = [[], [], []]
        for (const datagram of sent) {
          const { sender, fragment, payload, now } = datagram
          histories[sender]?.push(datagram)
          const whole = senders[sender]?.receive({ fragment, address: A, payload }, now)
          const expected = expectedOf(histories[sender] ?? [])
          expect(whole && hex(whole.payload)).toBe(expected)
          if (expected !== undefined && fragment > LAST + 1) completed++
        }
      }),
      { numRuns: 1_000 },
    )
    // Not a test of nothing.
    expect(completed).toBeGreaterThan(200)
  })

  it('K107 garbage never throws, and never holds more than one datagram', () => {
    const reassembly = new Reassembly()
    let now = 0
    fc.assert(
      fc.property(byte, address, fc.integer({ min: 0, max: 65_535 }), (fragment, from, length) => {
        now += length % 100
        const whole = reassembly.receive({ fragment, address: from, payload: new Uint8Array(length) }, now)
        if (fragment !== 0) expect(whole?.payload.length ?? 0).toBeLessThanOrEqual(65_507)
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('fragmentPayload', () => {
  it('K107 what it cuts, Reassembly puts together', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 500 }),
        fc.integer({ min: 4, max: 600 }),
        address,
        (payload, size, from) => {
          const reassembly = new Reassembly()
          const pieces = fragmentPayload(payload, size)
          expect(pieces.every((piece) => piece.payload.length <= size)).toBe(true)
          const results = pieces.map((piece) => reassembly.receive({ ...piece, address: from }, 0))
          expect(plain(results.pop())).toEqual({ address: from, payload: hex(payload) })
          expect(results.every((result) => result === undefined)).toBe(true)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('K107 what fits is not cut, and what does not fit 127 pieces is refused', () => {
    expect(fragmentPayload(new Uint8Array(10), 10)).toEqual([{ fragment: 0, payload: new Uint8Array(10) }])
    expect(fragmentPayload(new Uint8Array(0), 1)).toHaveLength(1)
    expect(fragmentPayload(new Uint8Array(127), 1).map(({ fragment }) => fragment)).toEqual([
      ...Array.from({ length: 126 }, (_, index) => index + 1),
      0xff,
    ])
    expectOutOfRange(() => fragmentPayload(new Uint8Array(128), 1))
    for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expectOutOfRange(() => fragmentPayload(new Uint8Array(3), size))
    }
  })
})
