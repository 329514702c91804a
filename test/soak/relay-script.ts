// What the two ends of a tunnel do to a relay: as a seed says.

import { Dice } from './datagrams.js'

/**
 * How an end writes. `tiny`: 1 to 64 bytes at a time. `small`: to 4 KiB. `trickle`: to 16 KiB, each a segment of its own, so
 * that what waits for a reader is less than what makes a stream full. `any`: to 1 MiB. `bulk`: 64 KiB to 1 MiB.
 */
export type Writing = 'tiny' | 'small' | 'trickle' | 'any' | 'bulk'

/**
 * How an end reads. `stubborn`: it stops until the other end's writes go nowhere, so that the relay and all that the system
 * holds for it are full; then again after some bytes. `stalling`: it stops for a while now and then. `slow`: after each chunk.
 */
export type Reading = 'fast' | 'stubborn' | 'stalling' | 'slow'

/** One end of a tunnel. */
export interface EndScript {
  /** Names the pattern of what it writes, and makes its whims repeatable. */
  readonly name: number
  readonly total: number
  readonly writing: Writing
  readonly reading: Reading
  /** Whether it rests between writes now and then. */
  readonly pauses: boolean
  /** Writes nothing before the other end's FIN is here. */
  readonly waitsForEnd: boolean
}

/** One tunnel. */
export interface TunnelScript {
  readonly seed: number
  readonly client: EndScript
  readonly target: EndScript
  /** Whether the client sends before it has an answer, and how much of it in one write with the request. */
  readonly early: number | undefined
  /** Resets one end when it has moved so many bytes. */
  readonly cut: { readonly end: 'client' | 'target'; readonly after: number } | undefined
  /** What the client asks for: a literal, or a name of which the first address refuses. */
  readonly byName: boolean
}

const LARGEST: Record<Writing, number> = {
  tiny: 60_000,
  small: 1_000_000,
  trickle: 8_000_000,
  any: 6_000_000,
  bulk: 12_000_000,
}

/** Whether this is the script of a tunnel that ends well. */
export function endsWell({ cut, client, target }: TunnelScript): boolean {
  return cut === undefined || cut.after > client.total + target.total
}

/** A script that `seed` alone decides. */
export function tunnelScript(seed: number): TunnelScript {
  const dice = new Dice(seed)
  const first = dice.of('neither', 'neither', 'client', 'target')
  const client = endScript(dice, (seed * 2) >>> 0, first === 'target')
  const target = endScript(dice, (seed * 2 + 1) >>> 0, first === 'client')
  const after = dice.roll(Math.max(1, Math.min(client.total + target.total, 1 << dice.roll(24))))
  return {
    seed,
    client,
    target,
    early: dice.of(undefined, 0, 1, 10, 20_000, 100_000, dice.roll(300_000)),
    cut: dice.roll(5) === 0 ? { end: dice.of('client', 'target'), after } : undefined,
    byName: dice.roll(4) === 0,
  }
}

function endScript(dice: Dice, name: number, waitsForEnd: boolean): EndScript {
  const writing = dice.of<Writing>('tiny', 'small', 'trickle', 'trickle', 'any', 'bulk', 'bulk')
  return {
    name,
    writing,
    total: dice.roll(8) === 0 ? dice.roll(3) : dice.roll(dice.of(1_000, LARGEST[writing], LARGEST[writing])),
    reading: dice.of<Reading>('fast', 'stubborn', 'stubborn', 'stubborn', 'stalling', 'slow'),
    pauses: dice.of(true, false),
    waitsForEnd,
  }
}

/** Length of the next write. */
export function writeLength(writing: Writing, dice: Dice): number {
  switch (writing) {
    case 'tiny':
      return 1 + dice.roll(64)
    case 'small':
      return 1 + dice.roll(4_096)
    case 'trickle':
      return 1 + dice.roll(dice.of(256, 4_096, 16_384, 16_384))
    case 'any':
      return 1 + dice.roll(1 << dice.roll(21))
    case 'bulk':
      return 65_536 + dice.roll(983_041)
  }
}
