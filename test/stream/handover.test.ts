import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { Handshake } from '../../src/stream/handover.js'
import { cleanup } from '../support/servers.js'

/** Two ends of a TCP connection. */
async function tcpPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const near = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true })
  const [[far]] = await Promise.all([once(server, 'connection'), once(near, 'connect')])
  server.close()
  cleanup(() => near.destroy())
  cleanup(() => far.destroy())
  return [near, far]
}

/** Reads four bytes by a Handshake, gives the rest back, and releases. */
function takeFour(stream: Socket): Promise<void> {
  return new Promise((resolve) => {
    const handshake = new Handshake(stream, {
      onReadable: () => {
        const bytes = handshake.read()
        if (bytes === undefined) return
        handshake.unread(bytes.subarray(4))
        handshake.release()
        resolve()
      },
      onClose: () => {},
    })
  })
}

describe('Handshake', () => {
  it('gives the stream back idle, with every byte that was not read', async () => {
    const [near, far] = await tcpPair()
    near.write('headbody')
    await takeFour(far)
    near.write(' and more')
    near.end()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(far.readableFlowing).toBe(null)
    expect(far.isPaused()).toBe(false)
    let text = ''
    for await (const chunk of far) text += chunk
    expect(text).toBe('body and more')
  })

  it.each(['data', 'readable', 'pipe'])(
    'a stream given back starts by %s alone, in the same turn and later',
    async (how) => {
      for (const delay of [0, 30]) {
        const [near, far] = await tcpPair()
        near.write('headbody')
        await takeFour(far)
        if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay))
        const received = new Promise<string>((resolve) => {
          if (how === 'data') far.on('data', (chunk) => resolve(String(chunk)))
          if (how === 'readable') far.on('readable', () => resolve(String(far.read())))
          if (how === 'pipe') {
            const [sink, source] = duplexPair()
            source.on('data', (chunk) => resolve(String(chunk)))
            far.pipe(sink)
          }
        })
        expect(await received).toBe('body')
      }
    },
  )

  it('gives back what came in the same segment as the FIN', async () => {
    const [near, far] = await tcpPair()
    near.end('headbody')
    await once(near, 'finish')
    await new Promise((resolve) => setTimeout(resolve, 20))
    await takeFour(far)
    let text = ''
    for await (const chunk of far) text += chunk
    expect(text).toBe('body')
  })

  it('leaves one listener, the guard, and a later reset ends no process', async () => {
    const [near, far] = await tcpPair()
    const before = far.eventNames().map((name) => [name, far.listenerCount(name)])
    near.write('head')
    await takeFour(far)
    const extra = far.eventNames().map((name) => [name, far.listenerCount(name)])
    expect(extra.filter(([name]) => name !== 'error')).toEqual(before.filter(([name]) => name !== 'error'))
    expect(far.listenerCount('error')).toBe(1)
    near.resetAndDestroy()
    far.resume()
    await new Promise((resolve) => far.once('close', resolve))
    expect(far.errored).toMatchObject({ code: 'ECONNRESET' })
  })

  it('tells once that the stream is gone, with its error or without, and never after release', async () => {
    const [near, far] = await tcpPair()
    const onClose = vi.fn()
    new Handshake(far, { onReadable: () => {}, onClose })
    near.resetAndDestroy()
    await new Promise((resolve) => far.once('close', resolve))
    expect(onClose).toHaveBeenCalledTimes(1)
    expect(onClose.mock.calls[0]?.[0]).toMatchObject({ code: 'ECONNRESET' })
    const [pair] = duplexPair()
    const quiet = vi.fn()
    const released = new Handshake(pair, { onReadable: () => {}, onClose: quiet })
    released.release()
    released.release()
    pair.destroy()
    await once(pair, 'close')
    expect(quiet).not.toHaveBeenCalled()
  })
})
