import { once } from 'node:events'
import { Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { FrameReader, GssapiStream, type MessageProtection } from '../../src/server/gssapi-stream.js'
import { concat } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { codeOf } from '../support/servers.js'
import { frame, ToyGss } from './toy-gss.js'

function around(inner: Duplex, protection: MessageProtection = new ToyGss()) {
  const onClose = vi.fn()
  const stream = new GssapiStream(inner, protection, { seals: true, demandsSeal: true, maxMessage: 100, onClose })
  const errors: Error[] = []
  stream.on('error', (error) => errors.push(error))
  return { stream, onClose, errors }
}

const closing = async (stream: Duplex): Promise<void> => {
  if (!stream.closed) await new Promise((resolve) => stream.on('close', resolve))
}

describe('GssapiStream', () => {
  it('S135 is idle until somebody reads, and reads no more than is asked for', async () => {
    const [inner, far] = duplexPair()
    const gss = new ToyGss()
    const { stream } = around(inner, gss)
    const peer = new ToyGss()
    for (let round = 0; round < 100; round++) far.write(frame(3, peer.wrap(new Uint8Array(1_000), true)))
    await new Promise(setImmediate)
    expect(gss.calls).toEqual([])
    expect(stream.readableFlowing).toBe(null)
    stream.once('readable', () => {})
    await once(stream, 'readable')
    await new Promise(setImmediate)
    expect(gss.calls.length).toBeLessThan(80)
    let received = 0
    stream.on('data', ({ length }) => {
      received += length
    })
    far.end()
    await once(stream, 'end')
    expect(received).toBe(100_000)
  })

  it('S135 has finished when the stream it is put around has', async () => {
    const taken: Uint8Array[] = []
    const finish = deferred()
    const inner = new Duplex({
      read() {},
      write: (chunk, _encoding, callback) => {
        taken.push(chunk)
        callback()
      },
      final: (callback) => void finish.promise.then(() => callback()),
    })
    const { stream } = around(inner)
    stream.end(new Uint8Array(250))
    await new Promise(setImmediate)
    expect(taken.length).toBe(3)
    expect([inner.writableEnded, stream.writableFinished]).toEqual([true, false])
    finish.resolve()
    await once(stream, 'finish')
  })

  it('S135 takes no more than the stream it is put around takes', async () => {
    const waiting: (() => void)[] = []
    const inner = new Duplex({ read() {}, write: (_chunk, _encoding, callback) => void waiting.push(callback) })
    const gss = new ToyGss()
    const { stream } = around(inner, gss)
    expect(stream.write(new Uint8Array(1_000_000))).toBe(false)
    await new Promise(setImmediate)
    expect(gss.calls.length).toBe(1)
    waiting.shift()?.()
    await new Promise(setImmediate)
    expect(gss.calls.length).toBe(2)
    stream.destroy()
    waiting.shift()?.()
    await new Promise(setImmediate)
    expect(gss.calls.length).toBe(2)
  })

  it.each<[string, (inner: Duplex, stream: Duplex) => unknown, unknown[]]>([
    ['the stream around is destroyed', (_inner, stream) => stream.destroy(), []],
    ['the stream inside is destroyed', (inner) => inner.destroy(), []],
    ['the stream inside fails', (inner) => inner.destroy(Object.assign(new Error('no'), { code: 'EIO' })), ['EIO']],
    [
      'the stream inside says that it failed',
      (inner) => inner.emit('error', Object.assign(new Error('no'), { code: 'EIO' })),
      ['EIO'],
    ],
  ])('S135 both end, and no message is wrapped or unwrapped any more, when %s', async (_when, end, codes) => {
    const [inner, far] = duplexPair()
    inner.on('error', () => {})
    const held = { wrap: deferred<Uint8Array>(), unwrap: deferred<Uint8Array>() }
    const wrap = vi.fn(() => held.wrap.promise)
    const unwrap = vi.fn(() => held.unwrap.promise)
    const { stream, onClose, errors } = around(inner, { wrap, unwrap })
    const onData = vi.fn()
    stream.on('data', onData)
    stream.write(new Uint8Array(1_000), () => {})
    far.write(concat(frame(3, 'one'), frame(3, 'two')))
    await new Promise(setImmediate)
    end(inner, stream)
    await Promise.all([closing(inner), closing(stream)])
    expect(onClose).toHaveBeenCalledOnce()
    held.wrap.resolve(new Uint8Array(3))
    held.unwrap.resolve(new Uint8Array(3))
    await new Promise(setImmediate)
    expect([wrap.mock.calls.length, unwrap.mock.calls.length, onData.mock.calls.length]).toEqual([1, 1, 0])
    expect(errors.map(codeOf)).toEqual(codes)
    expect(['readable', 'end', 'close'].map((name) => inner.listenerCount(name))).toEqual([0, 0, 0])
  })

  it('S135 ends at once around a stream that is destroyed, and at its end around one that has ended', async () => {
    const [gone] = duplexPair()
    gone.destroy()
    await once(gone, 'close')
    const { stream, onClose } = around(gone)
    await closing(stream)
    expect(onClose).toHaveBeenCalledOnce()

    const [ended, far] = duplexPair()
    far.end()
    ended.resume()
    await once(ended, 'end')
    const silent = around(ended).stream
    silent.resume()
    await once(silent, 'end')
  })

  it('S135 a consumer that throws ends the stream, not the process', async () => {
    const [inner, far] = duplexPair()
    const { stream, errors } = around(inner)
    stream.on('data', () => {
      throw new Error('consumer')
    })
    await new Promise(setImmediate)
    far.write(frame(3, new ToyGss().wrap(new Uint8Array(3), true)))
    await closing(stream)
    expect(errors.map(({ message }) => message)).toEqual(['consumer'])
  })
})

describe('FrameReader', () => {
  const whole = concat(frame(1, 'one'), frame(3, ''), frame(2, 'three'))
  const read = (reader: FrameReader) => {
    const frames: string[] = []
    for (let next = reader.next(); next !== undefined; next = reader.next()) {
      frames.push(`${next.type} ${Buffer.from(next.token)}`)
    }
    return frames
  }

  it('S135 finds the same frames at every split, and never writes into a chunk', () => {
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++) {
        const memory = whole.slice()
        const reader = new FrameReader()
        const frames = [memory.subarray(0, first), memory.subarray(first, second), memory.subarray(second)].flatMap(
          (chunk) => {
            reader.push(chunk)
            return read(reader)
          },
        )
        expect(frames).toEqual(['1 one', '3 ', '2 three'])
        expect(reader.rest.length).toBe(0)
        expect(memory).toEqual(whole)
      }
    }
  })

  it('S135 holds what has come, not what a header claims or how often it came', () => {
    const reader = new FrameReader()
    for (const byte of concat(frame(3, new Uint8Array(65_535))).subarray(0, 5_000)) {
      reader.push(Uint8Array.of(byte))
      expect(reader.next()).toBeUndefined()
    }
    expect(reader.rest.length).toBe(5_000)
    expect(reader.rest.buffer.byteLength).toBeLessThan(20_000)
  })
})
