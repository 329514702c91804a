import { Socket } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { type Delivery, ReusedReader } from '../../src/stream/reused-reader.js'

const SMALL = 512
const MEDIUM = 16_384
const LARGE = 262_144

/** A reader, the socket that Node would read into its memory, and a receiver that says what it is told to. */
class Bench {
  readonly reader = new ReusedReader()
  readonly socket = new Socket()
  readonly resumed = vi.spyOn(this.socket, 'resume')
  /** What was received: the memory itself, and a copy of what it held then. */
  readonly chunks: { readonly chunk: Uint8Array; readonly copy: Buffer }[] = []
  /** Verdicts to come; after them everything is done. */
  verdicts: Delivery[] = []
  onChunk = (): void => {}
  #buffer: Uint8Array = new Uint8Array(0)

  constructor() {
    this.#next()
  }

  start(): void {
    this.reader.start(this.socket, this)
  }

  onRead(chunk: Uint8Array): Delivery {
    this.chunks.push({ chunk, copy: Buffer.from(chunk) })
    this.onChunk()
    return this.verdicts.shift() ?? 'done'
  }

  /** Where the next read goes. */
  get room(): Uint8Array {
    return this.#buffer
  }

  /** The system reads: so many bytes, or a full buffer. `false`: it is to stop. */
  read(length: number = this.#buffer.length, fill = 0): boolean {
    this.#buffer.fill(fill, 0, length)
    const goesOn = this.reader.onread.callback(length, this.#buffer)
    this.#next()
    return goesOn
  }

  /** To the large buffer: a full read is all it takes. */
  grow(): void {
    this.start()
    this.read()
    expect(this.room.length).toBe(LARGE)
  }

  #next(): void {
    const { buffer } = this.reader.onread
    this.#buffer = typeof buffer === 'function' ? buffer() : buffer
  }
}

function pool(): readonly number[] {
  return [ReusedReader.pool.lent, ReusedReader.pool.idle]
}

describe('ReusedReader', () => {
  it('is used once a socket was made with it', () => {
    const reader = new ReusedReader()
    expect(reader.isUsed).toBe(false)
    reader.use()
    expect(reader.isUsed).toBe(true)
  })

  it('reads into the same memory again as long as all is done with', () => {
    const bench = new Bench()
    bench.start()
    const { room } = bench
    expect(room.length).toBe(SMALL)
    for (let round = 0; round < 5; round++) {
      expect(bench.read(100, round)).toBe(true)
      expect(bench.room).toBe(room)
    }
    expect(bench.chunks.map(({ copy }) => copy[0])).toEqual([0, 1, 2, 3, 4])
    bench.reader.stop(true)
  })

  it.each(['kept', 'full'] as const)('leaves memory to whoever it is %s by', (verdict) => {
    const bench = new Bench()
    bench.start()
    for (const length of [10, SMALL, 20, LARGE, LARGE, 30]) {
      const { room } = bench
      bench.verdicts = [verdict]
      expect(bench.read(Math.min(length, room.length), 1 + bench.chunks.length)).toBe(verdict === 'kept')
      expect(bench.room.buffer === room.buffer && bench.room.byteOffset === room.byteOffset).toBe(false)
    }
    for (const { chunk, copy } of bench.chunks) expect(copy.equals(chunk)).toBe(true)
    bench.reader.stop(true)
    expect(ReusedReader.pool.lent).toBe(0)
  })

  it('what came before the start is not written over by what comes after it', () => {
    const bench = new Bench()
    expect(bench.read(100, 7)).toBe(false)
    bench.verdicts = ['kept']
    bench.start()
    expect(bench.resumed).toHaveBeenCalledTimes(1)
    expect(bench.read(100, 9)).toBe(true)
    expect(bench.chunks.map(({ chunk }) => chunk[0])).toEqual([7, 9])
    bench.reader.stop(true)
  })

  it('what came before the start does not go on where it filled the receiver', () => {
    const bench = new Bench()
    bench.read(SMALL, 7)
    bench.verdicts = ['full']
    bench.start()
    expect(bench.resumed).not.toHaveBeenCalled()
    bench.reader.resume()
    expect(bench.resumed).toHaveBeenCalledTimes(1)
    bench.reader.stop(true)
  })

  it('grows on a full read, and shrinks after 32 small ones in a row', () => {
    const before = pool()
    const bench = new Bench()
    bench.grow()
    expect(ReusedReader.pool.lent).toBe((before[0] ?? 0) + 1)
    const large = bench.room
    for (let round = 0; round < 31; round++) bench.read(MEDIUM)
    bench.read(MEDIUM + 1)
    for (let round = 0; round < 31; round++) {
      bench.read(1)
      expect(bench.room).toBe(large)
    }
    bench.read(1)
    expect(bench.room.length).toBe(SMALL)
    expect(ReusedReader.pool.lent).toBe(before[0])
    bench.read()
    expect(bench.room).toBe(large)
    bench.reader.stop(true)
    expect(ReusedReader.pool.lent).toBe(before[0])
  })

  it('stays at medium while all large ones are out, and gives even that up when a read does not fill it', () => {
    const others = Array.from({ length: 128 }, () => new Bench())
    for (const other of others) other.grow()
    expect(ReusedReader.pool.lent).toBe(128)
    const bench = new Bench()
    bench.start()
    bench.read()
    expect(bench.room.length).toBe(MEDIUM)
    const medium = bench.room
    bench.read()
    expect(bench.room).toBe(medium)
    bench.verdicts = ['kept']
    bench.read()
    expect(bench.room.length).toBe(MEDIUM)
    expect(bench.room).not.toBe(medium)
    bench.read(MEDIUM - 1)
    expect(bench.room.length).toBe(SMALL)
    // One comes back: it is the next one's to fill its buffer.
    others.pop()?.reader.stop(true)
    bench.read()
    expect(bench.room.length).toBe(LARGE)
    bench.reader.stop(true)
    for (const other of others) other.reader.stop(true)
    expect(ReusedReader.pool.lent).toBe(0)
    expect(ReusedReader.pool.idle).toBe(16)
  })

  it('stopped in the middle of a delivery it reads no more, and counts its memory once', () => {
    for (const isFree of [true, false]) {
      const bench = new Bench()
      bench.grow()
      const [lent = 0, idle = 0] = pool()
      bench.onChunk = () => bench.reader.stop(isFree)
      bench.verdicts = ['kept']
      bench.read(LARGE, 5)
      expect(pool()).toEqual([lent - 1, Math.min(16, idle + (isFree ? 1 : 0))])
      expect(bench.room.length).toBe(0)
      bench.reader.resume()
    }
    expect(ReusedReader.pool.lent).toBe(0)
  })
})
