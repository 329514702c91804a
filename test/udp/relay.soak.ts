// Garbage from every side of a relay, in any volume; and associations opened and closed. Runs by itself (`npm run soak`),
// and a slice of it among the tests. Nothing leaves loopback: whatever is asked for, `decide` answers with its addresses.

import { readdirSync } from 'node:fs'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { type Address, encodeUdpDatagram } from '../../src/codec/index.js'
import { type Decide, openUdpRelay, type UdpRelay, type UdpRelayOptions, type UdpTarget } from '../../src/udp/index.js'
import { Peer } from './peer.js'

/** Numbers that a seed makes repeatable (mulberry32). */
class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** From 0 to `below` - 1. */
  roll(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.roll(256)))
  }

  of<Value>(...values: readonly [Value, ...Value[]]): Value {
    return values[this.roll(values.length)] ?? values[0]
  }
}

const NAMES = [
  '',
  'target.test',
  'TARGET.test.',
  '127.1',
  '0x7f000001',
  '2130706433',
  'localhost\0.evil.test',
  '[::1]',
  'a..b',
]

/** A datagram as a client, a broken client or an attacker might send it. */
function datagram(dice: Dice, echo: Address): Buffer {
  const size = dice.of(0, 1, 10, 100, 512, 1_472, 9_000, 65_507)
  const fragment = dice.roll(3) > 0 ? 0 : dice.of(1, 2, 0x81, 0x82, 0x80, 0xff, dice.roll(256))
  const name = dice.of(Buffer.from(dice.of(NAMES[0] ?? '', ...NAMES)), dice.bytes(dice.roll(256)))
  const port = dice.of(echo.port, echo.port, echo.port, 0, dice.roll(65_536))
  const head = Buffer.from([0, 0, fragment])
  const tail = Buffer.from([port >> 8, port & 0xff])
  const address = dice.of(
    Buffer.from([1, 127, 0, 0, 1]),
    Buffer.from([1, 127, 0, 0, 1]),
    Buffer.from([1, 127, 0, 0, 1]),
    Buffer.concat([Buffer.from([1]), dice.bytes(4)]),
    Buffer.concat([Buffer.from([4]), dice.bytes(16)]),
    Buffer.concat([Buffer.from([4]), Buffer.alloc(10), Buffer.from([0xff, 0xff]), dice.bytes(4)]),
    Buffer.concat([Buffer.from([3, name.length]), name]),
    Buffer.concat([Buffer.from([3, dice.roll(256)]), name]),
    dice.bytes(dice.roll(20)),
  )
  const whole = Buffer.concat([
    head,
    address,
    tail,
    dice.bytes(Math.min(size, 64)),
    Buffer.alloc(Math.max(size - 64, 0)),
  ])
  for (let flips = dice.of(0, 0, 0, 1, 3); flips > 0; flips--)
    whole[dice.roll(Math.min(whole.length, 30))] = dice.roll(256)
  return dice.roll(6) === 0 ? whole.subarray(0, dice.roll(40)) : whole.subarray(0, 65_507)
}

/** Every way in which an application may answer. */
function whim(dice: Dice): Decide {
  return ({ host }) => {
    if (host === '127.0.0.1') return { type: 'ipv4', host }
    switch (dice.roll(9)) {
      case 0:
        throw new Error('whim')
      case 1:
        return Promise.reject(new Error('whim'))
      case 2:
        return new Promise(() => {})
      case 3:
        return undefined
      case 4:
        // What an application in JavaScript may return.
        return 'nonsense' as unknown as UdpTarget
      case 5:
        return pause(dice.roll(5), { type: 'ipv4', host: '127.0.0.1' } as const)
      case 6:
        return { type: 'ipv6', host: '::1' }
      default:
        return { type: 'ipv4', host: dice.of('127.0.0.1', '127.0.0.2', '0.0.0.0', '224.0.0.1', '255.255.255.255') }
    }
  }
}

function options(dice: Dice): UdpRelayOptions {
  return {
    bind: { host: '127.0.0.1' },
    client: { address: '127.0.0.1' },
    decide: whim(dice),
    reassemble: dice.of(true, false),
    nat: dice.of('restricted', 'full-cone'),
    replyAddress: dice.of('source', 'request'),
    maxMappings: dice.of(2, 100, 1_024),
    idleTimeoutMs: dice.of(5, 1_000, 0),
    decisionTtlMs: dice.of(1, 0, 60_000),
    decisionTimeoutMs: 20,
  }
}

/** Sends a datagram to the echo until it comes back: the association works. */
async function works(relay: UdpRelay, client: Peer, echo: Peer, text: string): Promise<void> {
  const question = encodeUdpDatagram({ fragment: 0, address: echo.address, payload: Buffer.from(text) })
  for (let attempt = 0; attempt < 500; attempt++) {
    await client.send(question, relay.address)
    // While sixty-four questions are open, which `decide` may never answer, no other is asked.
    const deadline = performance.now() + 10
    while (performance.now() < deadline) {
      while (client.pending > 0) if ((await client.next()).data.toString('latin1').endsWith(text)) return
      await turn()
    }
  }
  throw new Error(`the association does not work any more: ${JSON.stringify(relay.stats)}`)
}

async function untilEqual(figure: () => number, wanted: number): Promise<void> {
  for (let round = 0; round < 500; round++) {
    if (figure() === wanted) return
    await pause(20)
  }
  throw new Error(`${figure()} where ${wanted} was before`)
}

/** Bytes in use, without garbage where the program was started with `--expose-gc`. */
async function settledHeap(): Promise<number> {
  for (let round = 0; round < 5; round++) {
    globalThis.gc?.()
    await pause(10)
  }
  return process.memoryUsage().heapUsed
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** `runs` datagrams of garbage to a relay and to its way out, a new relay for every thousand. Throws when one stops working. */
export async function soakUdpRelay({
  runs,
  seed,
}: {
  runs: number
  seed: number
}): Promise<{ relayed: number; dropped: Record<string, number> }> {
  const before = descriptors()
  const dropped: Record<string, number> = {}
  let relayed = 0
  for (let done = 0; done < runs; done += 1_000) {
    const dice = new Dice(seed + done)
    const relay = await openUdpRelay(options(dice))
    const [client, stranger] = [await Peer.open(), await Peer.open('127.0.0.2')]
    const [echo, silent] = [await Peer.echo(), await Peer.open()]
    await works(relay, client, echo, 'first')
    const { from } = await echo.next()
    for (let count = 0; count < Math.min(runs - done, 1_000); count++) {
      const data = datagram(dice, dice.of(echo.address, silent.address))
      const to = dice.of(relay.address, relay.address, relay.address, { host: '127.0.0.1', port: from.port })
      await dice.of(client, client, client, client, client, client, stranger, silent).send(data, to)
      // Lest the system drops what the relay should see.
      if (data.length > 1_000 || count % 8 === 0) await turn()
      if (count % 50 === 49) await works(relay, client, echo, `sentinel ${count}`)
    }
    relayed += relay.stats.datagramsUp
    for (const [reason, drops] of Object.entries(relay.stats.dropped)) dropped[reason] = (dropped[reason] ?? 0) + drops
    relay.close()
    for (const peer of [client, stranger, echo, silent]) peer.close()
    await untilEqual(descriptors, before)
  }
  return { relayed, dropped }
}

/**
 * `runs` relays opened, used and closed, a hundred at a time. Throws when a descriptor is left. `heapGrowth` in bytes, from
 * the first hundred to the last.
 */
export async function soakUdpAssociations({
  runs,
  seed,
}: {
  runs: number
  seed: number
}): Promise<{ heapGrowth: number }> {
  const dice = new Dice(seed)
  const [before, echo] = [descriptors(), await Peer.echo()]
  let heap = 0
  for (let done = 0; done < runs; done += 100) {
    const count = Math.min(runs - done, 100)
    await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const relay = await openUdpRelay({
          ...options(dice),
          decide: async () => ({ type: 'ipv4', host: '127.0.0.1' }),
        })
        const client = await Peer.open()
        await works(relay, client, echo, `association ${done + index}`)
        relay.close()
        client.close()
      }),
    )
    await untilEqual(descriptors, before + 1)
    while (echo.pending > 0) await echo.next()
    if (done === 0) heap = await settledHeap()
  }
  echo.close()
  return { heapGrowth: (await settledHeap()) - heap }
}
