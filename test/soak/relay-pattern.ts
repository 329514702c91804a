// What tunnels carry while they are watched: bytes that tell where they belong.

/** Prime, so that no buffer's length divides it. */
const BLOCK = 1_048_573
const SEGMENT = 65_536

const block = randomBlock()

/** Always the same bytes: the two ends of a tunnel are in one process, but nobody needs to know. */
function randomBlock(): Buffer {
  const bytes = Buffer.allocUnsafe(BLOCK)
  let state = 0x1928_1929
  for (let index = 0; index < BLOCK; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[index] = state
  }
  return bytes
}

/** A stream of bytes that depend on its name and on their position, without a period. */
export class Pattern {
  readonly #name: number

  /** `name`: a number of 32 bits, of which every tunnel has two of its own. */
  constructor(name: number) {
    this.#name = name
  }

  /** `length` bytes from `position` on, in memory of their own. */
  bytes(position: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafeSlow(length)
    for (let at = 0; at < length; ) at += this.#piece(position + at, length - at).copy(bytes, at)
    return bytes
  }

  /** What is wrong with `bytes`, which came at `position`; `undefined` when nothing is. */
  fault(bytes: Uint8Array, position: number): string | undefined {
    for (let at = 0; at < bytes.length; ) {
      const wanted = this.#piece(position + at, bytes.length - at)
      const found = bytes.subarray(at, at + wanted.length)
      if (!wanted.equals(found)) return describe(wanted, found, position + at)
      at += wanted.length
    }
    return undefined
  }

  /** At most `length` bytes from `position` on, to the end of a segment. */
  #piece(position: number, length: number): Buffer {
    const inside = position % SEGMENT
    const start = mixed(this.#name, (position - inside) / SEGMENT) % (BLOCK - SEGMENT)
    return block.subarray(start + inside, start + inside + Math.min(length, SEGMENT - inside))
  }
}

function mixed(name: number, segment: number): number {
  let hash = Math.imul(name ^ 0x9e37_79b9, 0x85eb_ca6b) ^ Math.imul(segment + 1, 0xc2b2_ae35)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d)
  return (hash ^ (hash >>> 13)) >>> 0
}

function describe(wanted: Buffer, found: Uint8Array, position: number): string {
  let first = 0
  while (wanted[first] === found[first]) first++
  const sample = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(first, first + 16)).toString('hex')
  return `byte ${position + first}: ${sample(found)} in place of ${sample(wanted)}`
}
