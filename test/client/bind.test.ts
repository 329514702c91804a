import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { createSocksServer, type ServerOptions } from '../../src/server/index.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'

const BIND: ServerOptions = { commands: ['connect', 'bind'], socks4: true }

function peerTo({ host, port }: { host: string; port: number }): Socket {
  const socket = connect({ host, port, allowHalfOpen: true })
  socket.on('error', () => {})
  cleanup(() => socket.destroy())
  return socket
}

/** Everything until the FIN. Not by `for await`, which destroys the stream there. */
async function text(socket: Duplex): Promise<string> {
  const chunks: Uint8Array[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  await once(socket, 'end')
  return Buffer.concat(chunks).toString()
}

/** A proxy that says what it is told to, as soon as the request is there. */
async function startScripted(reply: string): Promise<string> {
  const server = createServer((socket) => {
    let seen = 0
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      seen += chunk.length
      if (seen === 3) socket.write(Buffer.from('0500', 'hex'))
      if (seen > 3) socket.write(Buffer.from(reply, 'hex'))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(() => server.close())
  return `socks5h://127.0.0.1:${(server.address() as { port: number }).port}` // it listens
}

describe('bind', () => {
  it.each(['socks5h', 'socks4a', 'socks4'])(
    'listens at the proxy by %s, and resolves to the peer and its socket',
    async (scheme) => {
      const { port } = await startServer(BIND)
      const listener = await SocksClient.bind({ proxy: `${scheme}://127.0.0.1:${port}`, host: '127.0.0.1' })
      expect(listener.address).toMatchObject({ type: 'ipv4', host: '127.0.0.1' })
      const far = peerTo(listener.address)
      far.write('early')
      const { socket, peer } = await listener.accept()
      expect(peer).toMatchObject({ host: '127.0.0.1', port: far.localPort })
      far.end(' and late')
      expect(await text(socket)).toBe('early and late')
      socket.end('answer')
      expect(await text(far)).toBe('answer')
    },
  )

  it('C89 both replies in one segment, with what the peer said behind them', async () => {
    const first = '05000001 7f000001 1f90'
    const second = '05000001 c0000201 0014'
    const proxy = await startScripted(`${first}${second}68656c6c6f`.replaceAll(' ', ''))
    const listener = await SocksClient.bind({ proxy })
    expect(listener.address).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 8080 })
    const { socket, peer } = await listener.accept()
    expect(peer).toEqual({ type: 'ipv4', host: '192.0.2.1', port: 20 })
    const [chunk] = await once(socket, 'data')
    expect(String(chunk)).toBe('hello')
    socket.destroy()
  })

  it('an address of zeros is the proxy itself', async () => {
    const proxy = await startScripted('05000001000000001f90')
    const listener = await SocksClient.bind({ proxy })
    expect(listener.address).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 8080 })
    listener.close()
  })

  it('close ends the listener at the proxy, and a second accept is refused', async () => {
    const fixture = await startServer(BIND)
    const listener = await SocksClient.bind({ proxy: `socks5h://127.0.0.1:${fixture.port}` })
    const closing = fixture.closed()
    listener.close()
    listener.close()
    expect((await closing).reason).toBe('aborted')
    await expect(listener.accept()).rejects.toMatchObject({ code: 'ERR_SOCKS_ILLEGAL_MESSAGE' })
  })

  it('an abort and a timeout of accept close the listener', async () => {
    const fixture = await startServer(BIND)
    const proxy = `socks5h://127.0.0.1:${fixture.port}`
    const controller = new AbortController()
    const aborted = await SocksClient.bind({ proxy })
    const closing = fixture.closed()
    const waiting = aborted.accept({ signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await closing
    const slow = await SocksClient.bind({ proxy })
    const second = fixture.closed()
    await expect(slow.accept({ timeoutMs: 20 })).rejects.toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' })
    await second
  })

  it('a signal that is aborted before accept closes the listener, too', async () => {
    const fixture = await startServer(BIND)
    const listener = await SocksClient.bind({ proxy: `socks5h://127.0.0.1:${fixture.port}` })
    const closing = fixture.closed()
    await expect(listener.accept({ signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before')
    await closing
  })

  it('close ends an accept that waits; after it the stream is the caller’s', async () => {
    const fixture = await startServer(BIND)
    const proxy = `socks5h://127.0.0.1:${fixture.port}`
    const listener = await SocksClient.bind({ proxy })
    const closing = fixture.closed()
    const waiting = listener.accept()
    listener.close()
    await expect(waiting).rejects.toMatchObject({
      code: 'ERR_SOCKS_CONNECTION_CLOSED',
      message: 'the listener was closed',
    })
    await closing
    const second = await SocksClient.bind({ proxy, host: '127.0.0.1' })
    peerTo(second.address).end('here')
    const { socket } = await second.accept()
    second.close()
    expect(await text(socket)).toBe('here')
    socket.destroy()
  })

  it('nobody comes, the proxy refuses, the proxy leaves: each rejects in its own way', async () => {
    const impatient = await startServer({ ...BIND, bind: { timeoutMs: 20 } })
    const listener = await SocksClient.bind({ proxy: `socks5h://127.0.0.1:${impatient.port}` })
    await expect(listener.accept()).rejects.toMatchObject({ code: 'ERR_SOCKS_TTL_EXPIRED', replyCode: 6 })
    const plain = await startServer()
    const refused = SocksClient.bind({ proxy: `socks5h://127.0.0.1:${plain.port}` })
    await expect(refused).rejects.toMatchObject({ code: 'ERR_SOCKS_COMMAND_NOT_SUPPORTED', hop: 0 })
    const leaving = await startServer(BIND)
    const left = await SocksClient.bind({ proxy: `socks5h://127.0.0.1:${leaving.port}` })
    const waiting = left.accept()
    await leaving.server.close({ graceMs: 0 })
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
    // Not waited for while it left: told when somebody asks.
    const gone = await startServer(BIND)
    const late = await SocksClient.bind({ proxy: `socks5h://127.0.0.1:${gone.port}` })
    await gone.server.close({ graceMs: 0 })
    await expect(late.accept()).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
  })

  it('through a chain the last proxy listens; and a server can listen through it', async () => {
    const first = await startServer(BIND)
    const second = await startServer(BIND)
    const client = new SocksClient({
      proxy: [`socks5h://127.0.0.1:${first.port}`, `socks5h://127.0.0.1:${second.port}`],
    })
    const front = createSocksServer({
      commands: ['connect', 'bind'],
      dial: client.dialer(),
      bind: { listen: ({ host, port, signal }) => client.bind({ host, port, signal }) },
    })
    cleanup(() => front.close({ graceMs: 0 }))
    const [near, far] = duplexPair()
    front.handle(near, { clientAddress: '127.0.0.1' })
    const { port } = await front.listen(0)
    far.destroy()
    const listener = await SocksClient.bind({ proxy: `socks5h://127.0.0.1:${port}`, host: '127.0.0.1' })
    peerTo(listener.address).end('through three')
    const { socket } = await listener.accept()
    expect(await text(socket)).toBe('through three')
  })

  it('leaves nothing open after a hundred of each ending', { timeout: 60_000 }, async () => {
    const fixture = await startServer(BIND)
    const client = new SocksClient({ proxy: `socks5h://127.0.0.1:${fixture.port}` })
    const before = await settlesAt(descriptors, descriptors())
    for (let round = 0; round < 100; round++) {
      const closed = await client.bind()
      closed.close()
      const timed = await client.bind()
      await timed.accept({ timeoutMs: 1 }).catch(() => {})
      const taken = await client.bind()
      peerTo(taken.address).end()
      const { socket } = await taken.accept()
      socket.destroy()
    }
    await settlesAt(() => fixture.server.stats().connections, 0)
    expect(await settlesAt(descriptors, before + 100)).toBeLessThanOrEqual(before + 100)
  })

  it('wrong options reject before any I/O', async () => {
    const client = new SocksClient({ proxy: 'socks5h://127.0.0.1:1' })
    for (const options of [{ typo: 1 }, { host: 5 }, { port: -1 }, { signal: {} }, { timeoutMs: Number.NaN }]) {
      // `as`: wrong on purpose.
      const failure = await client.bind(options as object).catch((error: unknown) => error)
      expect(['ERR_INVALID_ARG_VALUE', 'ERR_OUT_OF_RANGE'], JSON.stringify(options)).toContain(codeOf(failure))
    }
  })
})
