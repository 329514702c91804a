import { afterEach, describe, expect, it, vi } from 'vitest'
import type { releaseChunk } from '../../src/stream/release-chunk.js'

const LENGTH = 65_536
const TRANSFER = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'transfer')

/** The module as it is before anybody has asked: it looks once at what the runtime can do. */
async function fresh(): Promise<typeof releaseChunk> {
  vi.resetModules()
  return (await import('../../src/stream/release-chunk.js')).releaseChunk
}

/** `undefined`: a runtime without, as Node 20 is. */
function setTransfer(value: ((this: ArrayBuffer, length: number) => unknown) | undefined): void {
  Reflect.deleteProperty(ArrayBuffer.prototype, 'transfer')
  if (value !== undefined) Object.defineProperty(ArrayBuffer.prototype, 'transfer', { value, configurable: true })
}

describe('releaseChunk', () => {
  afterEach(() => {
    setTransfer(undefined)
    if (TRANSFER !== undefined) Object.defineProperty(ArrayBuffer.prototype, 'transfer', TRANSFER)
    vi.doUnmock('node:worker_threads')
  })

  it('takes the memory of a whole chunk away, by whatever this runtime has', async () => {
    const release = await fresh()
    const chunk = Buffer.allocUnsafeSlow(LENGTH)
    expect(release(chunk)).toBe(true)
    expect([chunk.length, chunk.buffer.byteLength]).toEqual([0, 0])
  })

  it('prefers ArrayBuffer.transfer, which needs no port', async () => {
    const lengths: number[] = []
    setTransfer(function (length) {
      lengths.push(length)
      return structuredClone(this, { transfer: [this] })
    })
    const release = await fresh()
    const chunk = Buffer.allocUnsafeSlow(LENGTH)
    expect(release(chunk)).toBe(true)
    expect(chunk.length).toBe(0)
    // The first is that of the probe.
    expect(lengths).toEqual([0, 0])
  })

  it.each([
    ['is not there', undefined],
    ['does nothing', () => {}],
    [
      'throws',
      () => {
        throw new TypeError('not today')
      },
    ],
  ])('a closed port does it where transfer %s, again and again', async (_what, transfer) => {
    setTransfer(transfer)
    const release = await fresh()
    for (let round = 0; round < 3; round++) {
      const chunk = Buffer.allocUnsafeSlow(LENGTH)
      expect(release(chunk)).toBe(true)
      expect(chunk.buffer.byteLength).toBe(0)
      // The port has had time to learn that its other end is closed.
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })

  it('what a closed port takes is freed at once', async () => {
    setTransfer(undefined)
    const release = await fresh()
    release(Buffer.allocUnsafeSlow(LENGTH))
    // The end of a port is closed in the next turn; what is sent to it in this one waits for that.
    await new Promise((resolve) => setTimeout(resolve, 10))
    const { arrayBuffers } = process.memoryUsage()
    for (let round = 0; round < 1_000; round++) release(Buffer.allocUnsafeSlow(LENGTH))
    expect(process.memoryUsage().arrayBuffers - arrayBuffers).toBeLessThan(8 * LENGTH)
  })

  it('leaves a chunk alone that is not worth it, or is a part of something', async () => {
    const release = await fresh()
    const shared = Buffer.allocUnsafeSlow(LENGTH)
    const chunks = [
      Buffer.allocUnsafeSlow(16_383),
      shared.subarray(0, LENGTH - 1),
      shared.subarray(1),
      // From Node's own pool of small buffers.
      Buffer.allocUnsafe(1_000),
      Buffer.alloc(0),
    ]
    const lengths = chunks.map(({ length }) => length)
    for (const chunk of chunks) expect(release(chunk)).toBe(false)
    expect(chunks.map(({ length }) => length)).toEqual(lengths)
    expect(shared.length).toBe(LENGTH)
    expect(release(Buffer.allocUnsafeSlow(16_384))).toBe(true)
  })

  it('says so where nothing works, and leaves the chunk as it was', async () => {
    setTransfer(undefined)
    vi.doMock('node:worker_threads', () => ({
      MessageChannel: class {
        port1 = { unref() {}, postMessage() {} }
        port2 = { close() {} }
      },
    }))
    const release = await fresh()
    const chunk = Buffer.allocUnsafeSlow(LENGTH).fill(7)
    expect(release(chunk)).toBe(false)
    expect(chunk.equals(Buffer.alloc(LENGTH, 7))).toBe(true)
  })
})
