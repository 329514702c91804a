import { once } from 'node:events'
import { Duplex, duplexPair } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Deadline } from '../../src/stream/deadline.js'
import { endAndLinger } from '../../src/stream/linger.js'
import { relay } from '../../src/stream/relay.js'

/** A relay between two in-memory streams, and the outer ends of both. */
function joined(options = {}) {
  const [left, a] = duplexPair()
  const [right, b] = duplexPair()
  return { left, right, a, b, joint: relay(a, b, options) }
}

/** Everything until the FIN. Not by `for await`, which destroys the stream at the end of one way. */
async function drain(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(stream, 'end')
  return Buffer.concat(chunks)
}

describe('relay', () => {
  it('carries any chunks both ways, in order, to the last byte, and counts them', async () => {
    const chunks = fc.array(fc.uint8Array({ minLength: 0, maxLength: 20_000 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(chunks, chunks, async (up, down) => {
        const { left, right, joint } = joined()
        const received = Promise.all([drain(right), drain(left)])
        for (const chunk of up) left.write(chunk)
        left.end()
        for (const chunk of down) right.write(chunk)
        right.end()
        const [atRight, atLeft] = await received
        expect(atRight.equals(Buffer.concat(up))).toBe(true)
        expect(atLeft.equals(Buffer.concat(down))).toBe(true)
        expect(await joint.closed).toEqual({ reason: 'end' })
        expect([joint.bytesUp, joint.bytesDown]).toEqual([atRight.length, atLeft.length])
      }),
      { numRuns: 60 },
    )
  })

  it('takes over streams without half-open, which would lose the answer', async () => {
    const [left, a] = duplexPair({ allowHalfOpen: false })
    const [right, b] = duplexPair({ allowHalfOpen: false })
    left.allowHalfOpen = true
    right.allowHalfOpen = true
    const joint = relay(a, b)
    left.end('question')
    expect(String(await drain(right))).toBe('question')
    right.end('answer')
    expect(String(await drain(left))).toBe('answer')
    expect(await joint.closed).toEqual({ reason: 'end' })
  })

  it('a source that had ended before passes its FIN on', async () => {
    const [left, a] = duplexPair()
    const [right, b] = duplexPair()
    left.end()
    await once(a.resume(), 'end')
    const joint = relay(a, b)
    right.end('late')
    expect(String(await drain(left))).toBe('late')
    expect((await drain(right)).length).toBe(0)
    expect(await joint.closed).toEqual({ reason: 'end' })
  })

  it('a stream that is gone before takes the other one with it', async () => {
    for (const which of [0, 1] as const) {
      const streams = [duplexPair()[0], duplexPair()[0]] as const
      const gone = streams[which]
      gone.on('error', () => {})
      gone.destroy(new Error('earlier'))
      const { closed } = relay(streams[0], streams[1])
      expect(await closed).toMatchObject({ reason: 'reset', error: new Error('earlier') })
      expect(streams[1 - which]?.destroyed).toBe(true)
    }
  })

  it('a sink that had ended before does not hold the end up', async () => {
    const [left, a] = duplexPair()
    const [right, b] = duplexPair()
    right.resume()
    b.end()
    await once(b, 'finish')
    const { closed } = relay(a, b, { drainTimeoutMs: 0 })
    left.resume().end()
    right.end()
    expect(await closed).toEqual({ reason: 'end' })
  })

  it('a sink whose write throws ends the relay, not the process', async () => {
    const [left, a] = duplexPair()
    const broken = new Duplex({ read() {} })
    broken.write = () => {
      throw new Error('no more')
    }
    const { closed } = relay(a, broken)
    left.write('x')
    expect(await closed).toEqual({ reason: 'reset', error: new Error('no more') })
  })

  it('an error or a destroy of one side ends the other, and is told once', async () => {
    const broken = joined()
    broken.a.destroy(new Error('cut'))
    expect(await broken.joint.closed).toEqual({ reason: 'reset', error: new Error('cut') })
    expect(broken.b.destroyed).toBe(true)
    const destroyed = joined()
    destroyed.b.destroy()
    expect(await destroyed.joint.closed).toEqual({ reason: 'reset', error: undefined })
    expect(destroyed.a.destroyed).toBe(true)
  })

  it('destroy() ends both and leaves no listener but the guards', async () => {
    const { a, b, joint } = joined()
    joint.destroy()
    joint.destroy()
    expect(await joint.closed).toEqual({ reason: 'destroyed' })
    for (const stream of [a, b]) {
      expect(stream.destroyed).toBe(true)
      for (const name of ['data', 'drain', 'finish', 'close']) expect(stream.listenerCount(name), name).toBe(0)
      expect(stream.listenerCount('error')).toBe(1)
    }
  })

  it('the drain timeout ends a sink that takes nothing any more', async () => {
    const [left, a] = duplexPair()
    const stuck = new Duplex({ read() {}, write() {}, allowHalfOpen: true })
    const joint = relay(a, stuck, { drainTimeoutMs: 30 })
    left.end('never taken')
    expect(await joint.closed).toEqual({ reason: 'drain-timeout' })
    expect(stuck.destroyed).toBe(true)
  })
})

describe('endAndLinger', () => {
  it('sends the last bytes, drops what still comes, and closes when the peer does', async () => {
    const [near, far] = duplexPair()
    far.write('x'.repeat(100_000))
    endAndLinger(near, Buffer.from('no'), 5_000)
    const answer = drain(far)
    far.end()
    expect(String(await answer)).toBe('no')
    if (!near.closed) await once(near, 'close')
    expect(near.destroyed).toBe(true)
  })

  it('destroys a peer that does not close, and takes no more than its share from one that floods', async () => {
    const [near, far] = duplexPair()
    endAndLinger(near, Buffer.from('no'), 100)
    let sent = 0
    const chunk = Buffer.alloc(65_536)
    const pour = (): void => {
      while (!far.destroyed && sent < 512 * chunk.length) {
        sent += chunk.length
        if (!far.write(chunk)) return
      }
    }
    far.on('drain', pour)
    far.on('error', () => {})
    pour()
    await once(near, 'close')
    expect(sent).toBeLessThan(64 * chunk.length)
  })

  it('does nothing to a stream that is gone', () => {
    const [near] = duplexPair()
    near.destroy()
    expect(() => endAndLinger(near, Buffer.from('no'), 5_000)).not.toThrow()
  })
})

describe('Deadline', () => {
  it('fires once, not after clear, and never for 0', async () => {
    let fired = 0
    await new Promise<void>((resolve) => {
      const cleared = new Deadline(5, () => fired++)
      cleared.clear()
      cleared.clear()
      new Deadline(0, () => fired++)
      const deadline = new Deadline(20, () => {
        fired++
        deadline.refresh()
        setTimeout(resolve, 40)
      })
    })
    expect(fired).toBe(1)
  })
})
