import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { FlowingHandshake } from '../../src/stream/flowing-handshake.js'
import { settlesAt } from '../support/descriptors.js'

const LIMIT = 65_536
const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})

/** Both ends of a connection, and the handshake that borrows one of them. */
async function borrowed() {
  const listener = createServer({ allowHalfOpen: true, noDelay: true }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const far = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  const [near]: Socket[] = await once(listener, 'connection')
  listener.close()
  if (near === undefined) throw new Error('nobody came')
  sockets.push(near, far)
  far.on('error', () => {})
  const told = { readable: 0, closed: undefined as Error | 'cleanly' | undefined }
  const handshake = new FlowingHandshake(near, {
    onReadable: () => told.readable++,
    onClose: (error) => {
      told.closed = error ?? 'cleanly'
    },
  })
  return { near, far, told, handshake }
}

function pattern(length: number): Buffer {
  return Buffer.from(
    Uint32Array.from({ length: Math.ceil(length / 4) }, (_, index) => index * 2_654_435_761).buffer,
    0,
    length,
  )
}

describe('FlowingHandshake', () => {
  it('holds no more than one read beyond its limit, and delivers all of 10 MiB', async () => {
    const { near, far, handshake } = await borrowed()
    const sent = pattern(10 * 1_048_576)
    far.write(sent)
    far.end()
    expect(await settlesAt(() => Number(near.isPaused()), 1)).toBe(1)
    const held = near.bytesRead
    expect(held).toBeGreaterThan(LIMIT)
    // What is held, and what the stream itself has taken before it stopped.
    expect(held).toBeLessThanOrEqual(4 * LIMIT)
    const received: Uint8Array[] = []
    while (!handshake.ended) {
      const chunk = handshake.read()
      if (chunk === undefined) await new Promise((resolve) => setImmediate(resolve))
      else received.push(chunk)
    }
    expect(Buffer.concat(received).equals(sent)).toBe(true)
  })

  it('a FIN behind bytes that are held has not come before they are read', async () => {
    const { near, far, told, handshake } = await borrowed()
    far.end('last')
    if (!near.readableEnded) await once(near, 'end')
    expect([handshake.hasBytes, handshake.ended]).toEqual([true, false])
    expect(told.readable).toBe(2)
    expect(String(handshake.read())).toBe('last')
    expect([handshake.hasBytes, handshake.ended, handshake.read()]).toEqual([false, true, undefined])
  })

  it('a reset is noticed while bytes are held', async () => {
    const { near, far, told } = await borrowed()
    far.write('x'.repeat(1_000))
    await once(near, 'data')
    far.resetAndDestroy()
    // Not events.once, which rejects on the error.
    await new Promise((resolve) => near.once('close', resolve))
    expect(told.closed).toMatchObject({ code: 'ECONNRESET' })
    // Of 'end' Node has a listener of its own.
    expect(['data', 'end', 'close', 'error'].map((name) => near.listenerCount(name))).toEqual([0, 1, 0, 1])
  })

  it('what is put back comes first, and what is taken is all that was not read, in order', async () => {
    const { near, far, handshake } = await borrowed()
    const wait = async (count: number): Promise<void> => {
      expect(await settlesAt(() => near.bytesRead, count)).toBe(count)
    }
    far.write('abc')
    await wait(3)
    const first = handshake.read() ?? new Uint8Array(0)
    handshake.unread(first.subarray(1))
    handshake.unread(new Uint8Array(0))
    far.write('def')
    await wait(6)
    expect(String(handshake.read())).toBe('bc')
    handshake.unread(Buffer.from('c'))
    handshake.release()
    expect(near.listenerCount('data')).toBe(0)
    expect(Buffer.concat(handshake.take()).toString()).toBe('cdef')
    expect([handshake.hasBytes, handshake.take().length]).toEqual([false, 0])
    expect(near.isPaused()).toBe(false)
  })

  it('any cuts, reads and puts back leave the bytes as they were', async () => {
    const step = fc.record({ send: fc.nat(3_000), back: fc.nat(3_000), reads: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        const { near, far, handshake } = await borrowed()
        const sent = pattern(steps.reduce((sum, { send }) => sum + send, 0))
        const received: Uint8Array[] = []
        let position = 0
        for (const { send, back, reads } of steps) {
          far.write(sent.subarray(position, position + send))
          position += send
          await new Promise((resolve) => setImmediate(resolve))
          const chunk = reads ? handshake.read() : undefined
          if (chunk === undefined) continue
          const cut = Math.max(0, chunk.length - back)
          received.push(chunk.subarray(0, cut))
          handshake.unread(chunk.subarray(cut))
        }
        far.end()
        while (near.bytesRead < sent.length || !near.readableEnded)
          await new Promise((resolve) => setImmediate(resolve))
        handshake.release()
        expect(Buffer.concat([...received, ...handshake.take()]).equals(sent)).toBe(true)
        near.destroy()
        far.destroy()
      }),
      { numRuns: 40 },
    )
  })
})
