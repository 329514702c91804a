import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { TunnelSocket } from '../../src/client/tunnel-socket.js'
import { type Deferred, deferred } from '../support/deferred.js'
import { newEcho, newTarget } from '../support/forward-server.js'
import { cleanup } from '../support/servers.js'

/** A connected socket, as a client gives it. */
async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  cleanup(() => socket.destroy())
  return socket
}

/** A tunnel that opens when it is told to. */
function pending(): { tunnel: TunnelSocket; opens: Deferred<Socket>; signal: () => AbortSignal } {
  const opens = deferred<Socket>()
  let given: AbortSignal | undefined
  const tunnel = new TunnelSocket((signal) => {
    given = signal
    return opens.promise
  })
  cleanup(() => tunnel.destroy())
  return { tunnel, opens, signal: () => given ?? AbortSignal.abort() }
}

describe('TunnelSocket', () => {
  it('writes what was written before it was open, in order, and ends', async () => {
    const echo = await newEcho()
    const { tunnel, opens } = pending()
    tunnel.write('one ')
    tunnel.cork()
    tunnel.write('two ')
    tunnel.write('three ')
    tunnel.uncork()
    tunnel.end('four')
    const answer = text(tunnel)
    opens.resolve(await dial(echo.port))
    expect(await answer).toBe('one two three four')
  })

  it('looks like a socket that is connecting, then like the one that it has', async () => {
    const echo = await newEcho()
    const { tunnel, opens } = pending()
    expect(tunnel).toMatchObject({ connecting: true, pending: true, bytesRead: 0, bytesWritten: 0 })
    expect([tunnel.remoteAddress, tunnel.remotePort, tunnel.localPort, tunnel.address()]).toEqual([
      undefined,
      undefined,
      undefined,
      {},
    ])
    const socket = await dial(echo.port)
    const calls: unknown[] = []
    for (const name of ['setKeepAlive', 'setNoDelay', 'ref', 'unref'] as const) {
      socket[name] = (...values: unknown[]) => {
        calls.push([name, ...values])
        return socket
      }
    }
    // What is set before is set when there is something to set it on.
    expect(tunnel.setKeepAlive(true, 500).setNoDelay(false).unref()).toBe(tunnel)
    opens.resolve(socket)
    await once(tunnel, 'connect')
    tunnel.ref()
    expect(calls).toEqual([['setKeepAlive', true, 500], ['setNoDelay', false], ['unref'], ['ref']])
    expect(tunnel).toMatchObject({ connecting: false, pending: false, remotePort: echo.port, remoteFamily: 'IPv4' })
    expect(tunnel).toMatchObject({ remoteAddress: '127.0.0.1', localAddress: '127.0.0.1', localFamily: 'IPv4' })
    expect(tunnel.address()).toEqual(socket.address())
    expect(tunnel.localPort).toBe(socket.localPort)
    tunnel.write('hello')
    await once(tunnel, 'data')
    expect(tunnel).toMatchObject({ bytesRead: 5, bytesWritten: 5 })
  })

  it('ends when the target ends, and is gone', async () => {
    const target = await newTarget((socket) => socket.end('bye'))
    const { tunnel, opens } = pending()
    const socket = await dial(target.port)
    opens.resolve(socket)
    expect(await text(tunnel)).toBe('bye')
    if (!tunnel.closed) await once(tunnel, 'close')
    expect(tunnel.errored).toBeNull()
    expect(socket.destroyed).toBe(true)
  })

  it('keeps what it has read when the socket is gone before anybody asks', async () => {
    const target = await newTarget((socket) => socket.resume().end('bye'))
    const { tunnel, opens } = pending()
    const socket = await dial(target.port)
    tunnel.end('hello')
    opens.resolve(socket)
    await once(socket, 'close')
    expect(await text(tunnel)).toBe('bye')
  })

  it('takes a socket that has ended already', async () => {
    const target = await newTarget((socket) => socket.end())
    const socket = await dial(target.port)
    socket.resume()
    await once(socket, 'end')
    const { tunnel, opens } = pending()
    opens.resolve(socket)
    expect(await text(tunnel)).toBe('')
  })

  it('destroyed before it is open: the signal is aborted, writes fail, and a socket that comes late is destroyed', async () => {
    const echo = await newEcho()
    const { tunnel, opens, signal } = pending()
    const written = new Promise((resolve) => tunnel.write('lost', resolve))
    tunnel.destroy()
    expect(signal().aborted).toBe(true)
    expect(await written).toBeInstanceOf(Error)
    const socket = await dial(echo.port)
    opens.resolve(socket)
    if (!socket.closed) await once(socket, 'close')
    expect(tunnel.connecting).toBe(false)
  })

  it.each([
    ['reset', (socket: Socket) => socket.resetAndDestroy()],
    ['destroyed', (socket: Socket) => socket.destroy()],
  ])('a socket that is %s takes it along, whether somebody listens or not', async (_what, end) => {
    const target = await newTarget()
    const { tunnel, opens } = pending()
    opens.resolve(await dial(target.port))
    await once(tunnel, 'connect')
    tunnel.resume()
    const closed = new Promise((resolve) => tunnel.once('close', resolve))
    end(await target.connection())
    await closed
    expect(tunnel.destroyed).toBe(true)
  })

  it('fails a write that the target does not take before it is reset', async () => {
    const target = await newTarget()
    const { tunnel, opens } = pending()
    opens.resolve(await dial(target.port))
    const written = new Promise((resolve) => tunnel.write(Buffer.alloc(64_000_000), resolve))
    const peer = await target.connection()
    peer.resetAndDestroy()
    expect(await written).toBeInstanceOf(Error)
  })

  it('a socket that died on the way fails it', async () => {
    const target = await newTarget()
    const socket = await dial(target.port)
    socket.destroy()
    const { tunnel, opens } = pending()
    const failed = once(tunnel, 'error')
    opens.resolve(socket)
    expect(await failed).toMatchObject([{ code: 'ERR_SOCKS_CONNECTION_CLOSED' }])
  })

  it('destroySoon hands over what was written', async () => {
    const target = await newTarget()
    const { tunnel, opens } = pending()
    tunnel.write('the last words')
    tunnel.destroySoon()
    opens.resolve(await dial(target.port))
    expect(await text(await target.connection())).toBe('the last words')
    if (!tunnel.closed) await once(tunnel, 'close')
    tunnel.destroySoon()
  })

  it('resetAndDestroy resets', async () => {
    const target = await newTarget()
    const { tunnel, opens } = pending()
    opens.resolve(await dial(target.port))
    await once(tunnel, 'connect')
    const peer = (await target.connection()).resume()
    const error = once(peer, 'error')
    expect(tunnel.resetAndDestroy()).toBe(tunnel)
    expect(await error).toMatchObject([{ code: 'ECONNRESET' }])
    expect(pending().tunnel.resetAndDestroy().destroyed).toBe(true)
  })

  it('its timeout starts over with every byte, and is gone with it', async () => {
    const target = await newTarget((socket) => socket.write('hello'))
    const { tunnel, opens } = pending()
    const fired: string[] = []
    const never = () => fired.push('never')
    expect(tunnel.setTimeout(20, never)).toBe(tunnel)
    tunnel.setTimeout(0, never)
    tunnel.setTimeout(20, () => fired.push('once'))
    expect(tunnel.timeout).toBe(20)
    await once(tunnel, 'timeout')
    opens.resolve(await dial(target.port))
    await once(tunnel, 'data')
    await once(tunnel, 'timeout')
    expect(fired).toEqual(['once'])
    tunnel.destroy()
    tunnel.setTimeout(1, never)
    expect(() => tunnel.setTimeout(Number.NaN)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
    expect(fired).toEqual(['once'])
  })

  it('holds a target back that nobody reads', async () => {
    const target = await newTarget((socket) => socket.write(Buffer.alloc(64_000_000)))
    const { tunnel, opens } = pending()
    const socket = await dial(target.port)
    opens.resolve(socket)
    await once(tunnel, 'readable')
    expect(socket.isPaused()).toBe(true)
    expect(tunnel.readableLength).toBeLessThan(1_000_000)
    let bytes = 0
    for await (const chunk of tunnel) {
      bytes += chunk.length
      if (bytes === 64_000_000) break
    }
    expect(bytes).toBe(64_000_000)
  })
})
