import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SocksClient, type UdpAssociation } from '../../src/client/index.js'
import type { Destination } from '../../src/codec/index.js'
import { createSocksServer, type ServerOptions, userPass } from '../../src/server/index.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { PASSWORD, USER } from './hygiene.js'

async function startUdpEcho(host = '127.0.0.1') {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  socket.bind(0, host)
  await once(socket, 'listening')
  cleanup(() => socket.close())
  const from: { address: string; port: number }[] = []
  socket.on('message', (data, { address, port }) => {
    from.push({ address, port })
    socket.send(data, port, address)
  })
  return { socket, port: socket.address().port, from }
}

const UDP: ServerOptions = { commands: ['connect', 'udp-associate'] }

/** An association through a server of the test's own. */
async function associated(options: ServerOptions = {}, clientOptions = {}): Promise<UdpAssociation> {
  const { port } = await startServer({ ...UDP, ...options })
  const association = await SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${port}`, ...clientOptions })
  cleanup(() => association.close())
  return association
}

async function reply(association: UdpAssociation): Promise<{ data: Buffer; address: string; port: number }> {
  const [data, from] = await once(association, 'message')
  return { data, ...from }
}

/** A proxy that grants everything, and tells the BND that a test wants. Resolves to the requests it gets. */
async function startGranting(bnd: string) {
  const requests: string[] = []
  const server = createServer((socket) => {
    let seen = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      seen = Buffer.concat([seen, chunk])
      if (seen.length === 3) socket.write(Buffer.from('0500', 'hex'))
      if (seen.length < 13) return
      requests.push(seen.subarray(3).toString('hex'))
      socket.write(Buffer.from(`050000${bnd}`, 'hex'))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(() => server.close())
  return { port: (server.address() as { port: number }).port, requests } // it listens
}

describe('udpAssociate', () => {
  it.each([0, 1, 512, 1_472, 9_000, 60_000, 65_497])('C118 %i bytes there and back, over IPv4', async (size) => {
    const echo = await startUdpEcho()
    const association = await associated()
    const data = Buffer.alloc(size, (size % 251) + 1)
    association.send(data, echo.port, '127.0.0.1')
    const answer = await reply(association)
    expect(answer.data.equals(data)).toBe(true)
    expect([answer.address, answer.port]).toEqual(['127.0.0.1', echo.port])
    expect(association.maxPayload('127.0.0.1')).toBe(65_497)
  })

  it.each([0, 1_472, 60_000, 65_485])('C118 %i bytes there and back, to IPv6', async (size) => {
    const echo = await startUdpEcho('::1')
    const association = await associated()
    expect(association.maxPayload('::1')).toBe(65_485)
    const data = Buffer.alloc(size, 7)
    association.send(data, echo.port, '::1')
    const answer = await reply(association)
    expect(answer.data.equals(data)).toBe(true)
    expect(answer.address).toBe('::1')
  })

  it.each([0, 1_472, 60_000])('C118 S111 %i bytes there and back, to a name that the proxy looks up', async (size) => {
    const echo = await startUdpEcho()
    const asked: string[] = []
    const association = await associated({
      lookup: (name, _options, callback) => {
        asked.push(name)
        callback(null, [{ address: '127.0.0.1', family: 4 }])
      },
    })
    const data = Buffer.alloc(size, 9)
    association.send(data, echo.port, 'Echo.Example')
    const answer = await reply(association)
    expect(answer.data.equals(data)).toBe(true)
    expect([answer.address, asked]).toEqual(['127.0.0.1', ['echo.example']])
    expect(association.maxPayload('echo.example')).toBe(65_507 - 7 - 12)
  })

  it('C101 asks with zeros, in the family of the connection', async () => {
    const { port, requests } = await startGranting('017f0000010009')
    const association = await SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${port}` })
    expect(requests).toEqual(['05030001000000000000'])
    association.close()

    const six: Destination[] = []
    const server = createSocksServer(UDP)
    server.on('request', ({ command, destination }) => command === 'udp' && six.push(destination))
    cleanup(() => server.close({ graceMs: 0 }))
    const { port: port6 } = await server.listen({ host: '::1', port: 0 })
    const over6 = await SocksClient.udpAssociate({ proxy: `socks5h://[::1]:${port6}` })
    over6.close()
    expect(six).toEqual([{ type: 'ipv6', host: '::', port: 0 }])
  })

  it.each([
    ['0.0.0.0', '0100000000', {}],
    ['::', `04${'00'.repeat(16)}`, {}],
    ['a private address, where the proxy is to be taken at its own', '010a000001', { relayAddress: 'proxy' }],
    ['a name, which is looked up', '0309726c792e6c6f63616c', { lookup: true }],
  ] as const)('C100 BND is %s', async (_name, host, options) => {
    const relay = createSocket('udp4')
    relay.bind(0, '127.0.0.1')
    await once(relay, 'listening')
    cleanup(() => relay.close())
    const bndPort = relay.address().port.toString(16).padStart(4, '0')
    const { port } = await startGranting(`${host}${bndPort}`)
    const association = await SocksClient.udpAssociate({
      proxy: `socks5h://127.0.0.1:${port}`,
      ...('relayAddress' in options ? options : {}),
      ...('lookup' in options ? { lookup: (_name, _options, callback) => callback(null, '127.0.0.1', 4) } : {}),
    })
    cleanup(() => association.close())
    association.send('hello', 53, '192.0.2.1')
    const [data] = await once(relay, 'message')
    expect(data.toString('hex')).toBe('00000001c0000201003568656c6c6f')
  })

  it('a chain is refused before any I/O, because datagrams would leave it out', async () => {
    const proxy = ['socks5h://127.0.0.1:1', 'socks5h://127.0.0.1:2']
    await expect(SocksClient.udpAssociate({ proxy })).rejects.toMatchObject({ code: 'ERR_SOCKS_INVALID_PROXY' })
  })

  it('with socks5:// names are looked up on this side', async () => {
    const echo = await startUdpEcho()
    const { port } = await startServer({ ...UDP, authorize: ({ type }) => type !== 'domain' })
    const association = await SocksClient.udpAssociate({
      proxy: `socks5://127.0.0.1:${port}`,
      lookup: (_name, _options, callback) => callback(null, '127.0.0.1', 4),
    })
    cleanup(() => association.close())
    association.send('x', echo.port, 'echo.example')
    expect(String((await reply(association)).data)).toBe('x')
  })

  it('a refusal and wrong credentials reject as connect does, with the hop, and leave nothing open', async () => {
    const before = await settlesAt(descriptors, descriptors())
    const plain = await startServer()
    const secret = await startServer({ ...UDP, auth: userPass({ [USER]: PASSWORD }) })
    const failures = await Promise.all(
      [
        `socks5h://127.0.0.1:${plain.port}`,
        `socks5h://${USER}:wrong@127.0.0.1:${secret.port}`,
        'socks5h://127.0.0.1:1',
      ].map((proxy) => SocksClient.udpAssociate({ proxy }).catch((error: unknown) => error)),
    )
    expect(failures.map(codeOf)).toEqual([
      'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
      'ERR_SOCKS_AUTH_FAILED',
      'ERR_SOCKS_PROXY_UNREACHABLE',
    ])
    // Two listeners are left.
    expect(await settlesAt(descriptors, before + 2)).toBe(before + 2)
  })

  it('an abort ends the attempt, and later the association, with its connection and its socket', async () => {
    const silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    cleanup(() => silent.close())
    const early = new AbortController()
    const { port } = silent.address() as { port: number } // it listens
    const attempt = SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${port}`, signal: early.signal })
    early.abort(new Error('changed my mind'))
    await expect(attempt).rejects.toThrow('changed my mind')

    const late = new AbortController()
    const fixture = await startServer(UDP)
    const association = await SocksClient.udpAssociate({
      proxy: `socks5h://127.0.0.1:${fixture.port}`,
      signal: late.signal,
    })
    const closing = fixture.closed()
    late.abort()
    expect(association.closed).toBe(true)
    await closing
  })

  it('timeoutMs ends the attempt', async () => {
    const silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    cleanup(() => silent.close())
    const { port } = silent.address() as { port: number } // it listens
    const attempt = SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${port}`, timeoutMs: 30 })
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' })
  })

  it('the end of its connection ends it, with an error that says so', async () => {
    const fixture = await startServer(UDP)
    const association = await SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${fixture.port}` })
    const failing = new Promise<Error>((resolve) => association.once('error', resolve))
    // Not events.once, which rejects when an error comes first.
    const closing = new Promise<void>((resolve) => association.once('close', () => resolve()))
    await fixture.server.close({ graceMs: 0 })
    expect(await failing).toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
    await closing
    expect(() => association.send('x', 1, '127.0.0.1')).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' }),
    )
  })

  it('S123 over a Unix socket of the proxy', async () => {
    const server = createSocksServer({ ...UDP, udp: { client: 'first-sender' } })
    cleanup(() => server.close({ graceMs: 0 }))
    const path = join(tmpdir(), `tubesock-udp-${process.pid}.sock`)
    await server.listen({ path })
    const echo = await startUdpEcho()
    const association = await SocksClient.udpAssociate({ proxy: { path } })
    association.send('by a path', echo.port, '127.0.0.1')
    expect(String((await reply(association)).data)).toBe('by a path')
    association.close()
  })

  it('options that are unknown or wrong reject before any I/O', async () => {
    const proxy = 'socks5h://127.0.0.1:1'
    for (const options of [
      { typo: 1 },
      { relayAddress: 'x' },
      { signal: 5 },
      { timeoutMs: -1 },
      { reassemble: 1 },
      { maxQueued: 0 },
    ]) {
      // `as`: wrong on purpose.
      const failure = await SocksClient.udpAssociate({ proxy, ...(options as object) }).catch((error: unknown) => error)
      expect(['ERR_INVALID_ARG_VALUE', 'ERR_OUT_OF_RANGE'], JSON.stringify(options)).toContain(codeOf(failure))
    }
  })
})
