// What soaks of datagrams share. Without the test runner: they are programs that run by themselves.

import { readdirSync } from 'node:fs'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Address, encodeUdpDatagram } from '../../src/codec/index.js'
import type { Peer } from '../udp/peer.js'

/** Numbers that a seed makes repeatable (mulberry32). */
export class Dice {
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

/** A datagram with a header, as a client, a broken client or an attacker might send it, on the way to `target` mostly. */
export function headed(dice: Dice, target: Address): Buffer {
  const fragment = dice.roll(3) > 0 ? 0 : dice.of(1, 2, 0x81, 0x82, 0x80, 0xff, dice.roll(256))
  const name = dice.of(Buffer.from(dice.of(NAMES[0] ?? '', ...NAMES)), dice.bytes(dice.roll(256)))
  const port = dice.of(target.port, target.port, target.port, 0, dice.roll(65_536))
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
  const whole = Buffer.concat([head, address, tail, bare(dice)])
  for (let flips = dice.of(0, 0, 0, 1, 3); flips > 0; flips--)
    whole[dice.roll(Math.min(whole.length, 30))] = dice.roll(256)
  return dice.roll(6) === 0 ? whole.subarray(0, dice.roll(40)) : whole.subarray(0, 65_507)
}

/** Bytes of any size, the first of them random: what a target may send. */
export function bare(dice: Dice): Buffer {
  const size = dice.of(0, 1, 10, 100, 512, 1_472, 9_000, 65_507)
  return Buffer.concat([dice.bytes(Math.min(size, 64)), Buffer.alloc(Math.max(size - 64, 0))])
}

/**
 * Sends a datagram through a relay to an echo until it is back: the association works. While sixty-four questions are open,
 * no other is asked, so that it may take some time.
 */
export async function works(
  relay: { readonly host: string; readonly port: number },
  client: Peer,
  echo: Peer,
  text: string,
): Promise<void> {
  const question = encodeUdpDatagram({ fragment: 0, address: echo.address, payload: Buffer.from(text) })
  for (let attempt = 0; attempt < 500; attempt++) {
    await client.send(question, relay)
    const deadline = performance.now() + 10
    while (performance.now() < deadline) {
      while (client.pending > 0) if ((await client.next()).data.toString('latin1').endsWith(text)) return
      await turn()
    }
  }
  throw new Error(`the association does not work any more: ${text}`)
}

export async function untilEqual(figure: () => number, wanted: number): Promise<void> {
  for (let round = 0; round < 500; round++) {
    if (figure() === wanted) return
    await pause(20)
  }
  throw new Error(`${figure()} where ${wanted} was before`)
}

/** Bytes in use, without garbage. */
export async function settledHeap(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  for (let round = 0; round < 5; round++) {
    collect()
    await pause(10)
  }
  return process.memoryUsage().heapUsed
}

/** Open descriptors of this process. */
export function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}
