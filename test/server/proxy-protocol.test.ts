import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { encodeProxyHeader } from '../../src/codec/index.js'
import {
  type ClosedInfo,
  createForwardServer,
  createSocksServer,
  type OutboundRequest,
  type ServerOptions,
  type Session,
} from '../../src/server/index.js'
import { testDirectory } from '../interop/peers.js'
import { connectRequest, GREETING_NO_AUTH, hex, RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { startEcho, type Target } from '../support/targets.js'

const FROM = { host: '192.0.2.5', port: 5_000 }
const TO = { host: '192.0.2.1', port: 1_080 }
const V1 = Buffer.from('PROXY TCP4 192.0.2.5 192.0.2.1 5000 1080\r\n')
const V2 = proxied(2, FROM)
const LOCAL = encodeProxyHeader({ version: 2, command: 'local', tlvs: [] })

function proxied(version: 1 | 2, source: { host: string; port: number }): Uint8Array {
  const destination = source.host.includes(':') ? { host: '2001:db8::1', port: 1_080 } : TO
  return encodeProxyHeader({ version, command: 'proxy', source, destination, tlvs: [] })
}

/** A server that believes what comes from 127.0.0.2, with all that it told. */
async function startBehind(options: ServerOptions = {}) {
  const fixture = await startServer({ proxyProtocol: ['127.0.0.2'], ...options })
  const sessions: Session[] = []
  const closed: ClosedInfo[] = []
  fixture.server.on('session', (session) => sessions.push(session))
  fixture.server.on('closed', (info) => closed.push(info))
  return { ...fixture, sessions, all: closed }
}

async function connectFrom(localAddress: string, { port }: { port: number }): Promise<RawClient> {
  const client = await RawClient.connect(port, { localAddress })
  cleanup(() => client.stream.destroy())
  return client
}

/** Greeting, request and payload, and what comes back: the reply code, and what follows the reply. */
async function ask(client: RawClient, target: Target, segments: readonly Uint8Array[]): Promise<[string, string]> {
  for (const segment of segments) await client.send(segment)
  client.stream.end(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port), Buffer.from('hello')]))
  const bytes = await client.readToEnd()
  client.stream.destroy()
  return [bytes.subarray(0, 4).toString('hex'), bytes.subarray(12).toString()]
}

async function startEchoTarget(): Promise<Target> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo
}

const anything = (): boolean => true

describe('PROXY protocol', () => {
  it.each([
    ['v1', V1, { clientAddress: '192.0.2.5', clientPort: 5_000 }],
    ['v2', V2, { clientAddress: '192.0.2.5', clientPort: 5_000 }],
    ['v1 IPv6', proxied(1, { host: '2001:DB8:0:0::5', port: 7 }), { clientAddress: '2001:db8::5', clientPort: 7 }],
    ['v2 IPv6', proxied(2, { host: '2001:db8::5', port: 0 }), { clientAddress: '2001:db8::5', clientPort: 0 }],
    ['v2 mapped', proxied(2, { host: '::ffff:192.0.2.9', port: 9 }), { clientAddress: '192.0.2.9', clientPort: 9 }],
    ['v1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), { clientAddress: '127.0.0.2' }],
    ['v1 UNKNOWN with text', Buffer.from('PROXY UNKNOWN ffff::1 x 1 2\r\n'), { clientAddress: '127.0.0.2' }],
    [
      'v2 of a Unix socket',
      hex(`0d0a0d0a000d0a515549540a 21 31 00d8 ${'61'.repeat(216)}`),
      { clientAddress: '127.0.0.2' },
    ],
  ])('S138 %s: rules and events see the client it tells of, never as local', async (_what, header, origin) => {
    const echo = await startEchoTarget()
    const seen: OutboundRequest[] = []
    const fixture = await startBehind({
      authorize: (request) => {
        seen.push(request)
        return true
      },
      egress: anything,
    })
    expect(await ask(await connectFrom('127.0.0.2', fixture), echo, [header])).toEqual(['05000500', 'hello'])
    expect(seen).toMatchObject([{ clientAddress: origin.clientAddress }])
    expect(fixture.sessions).toMatchObject([{ ...origin, isLocal: false }])
    expect(fixture.errors).toEqual([])
  })

  it.each([
    ['v1', V1],
    ['v2', V2],
  ])('S138 %s: one segment with all that follows, split at every place, and byte by byte', async (_what, header) => {
    const echo = await startEchoTarget()
    const fixture = await startBehind({ egress: anything })
    const cuts = Array.from({ length: header.length }, (_, at) => [header.subarray(0, at), header.subarray(at)])
    const bytes = Array.from(header, (byte) => Buffer.from([byte]))
    const whole = [[Buffer.concat([header, GREETING_NO_AUTH])]]
    const rest = Buffer.concat([connectRequest('127.0.0.1', echo.port), Buffer.from('hello')])
    for (const segments of [...cuts.map((cut) => [...cut, GREETING_NO_AUTH]), [...bytes, GREETING_NO_AUTH], ...whole]) {
      const client = await connectFrom('127.0.0.2', fixture)
      for (const segment of segments) await client.send(segment)
      client.stream.end(rest)
      expect(String((await client.readToEnd()).subarray(12))).toBe('hello')
      client.stream.destroy()
    }
    const together = await connectFrom('127.0.0.2', fixture)
    together.stream.end(Buffer.concat([header, GREETING_NO_AUTH, rest]))
    expect(String((await together.readToEnd()).subarray(12))).toBe('hello')
    expect(new Set(fixture.sessions.map(({ clientAddress }) => clientAddress))).toEqual(new Set(['192.0.2.5']))
  })

  it('S138 a listed peer that sends none is closed by its first byte, and is asked for nothing else', async () => {
    const fallback = vi.fn()
    const fixture = await startBehind({ fallback, socks4: true })
    for (const first of ['05', '04', '00', '16', '47', 'ff']) {
      const client = await connectFrom('127.0.0.2', fixture)
      client.write(first)
      expect((await client.readToEnd()).length).toBe(0)
    }
    expect(fixture.errors.map(codeOf)).toEqual(Array.from({ length: 6 }, () => 'ERR_SOCKS_BAD_PROXY_HEADER'))
    expect(fallback).not.toHaveBeenCalled()
  })

  it.each(['', 'PROXY TCP4 192', '\r\n\r\n\0\r\nQUIT\n!'])(
    'S138 S16 a listed peer that is silent after %j is closed by the handshake deadline',
    async (part) => {
      const fixture = await startBehind({ handshakeTimeoutMs: 50 })
      const closing = fixture.closed()
      const client = await connectFrom('127.0.0.2', fixture)
      if (part !== '') client.write(Buffer.from(part, 'latin1'))
      await client.readToEnd()
      expect(await closing).toMatchObject({ reason: 'handshake-timeout' })
    },
  )

  it('S138 a header is read once: a second one is the client’s own, and wrong', async () => {
    const fixture = await startBehind()
    const client = await connectFrom('127.0.0.2', fixture)
    client.write(Buffer.concat([V2, V2]))
    await client.readToEnd()
    expect(fixture.errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_VERSION'])
    expect(fixture.sessions).toMatchObject([{ clientAddress: '192.0.2.5' }])
  })

  it('S138 a header from a peer that is not listed is never read: wrong bytes of that peer', async () => {
    const echo = await startEchoTarget()
    const fixture = await startBehind()
    for (const header of [V1, V2, LOCAL]) {
      const client = await connectFrom('127.0.0.1', fixture)
      client.write(Buffer.concat([header, GREETING_NO_AUTH]))
      expect((await client.readToEnd()).toString()).not.toContain('\x05')
    }
    expect(new Set(fixture.sessions.map(({ clientAddress }) => clientAddress))).toEqual(new Set(['127.0.0.1']))
    expect(fixture.errors.map(codeOf)).toEqual([
      'ERR_SOCKS_PEER_IS_HTTP',
      'ERR_SOCKS_BAD_VERSION',
      'ERR_SOCKS_BAD_VERSION',
    ])
    // Without one it is a client like any other.
    expect(await ask(await connectFrom('127.0.0.1', fixture), echo, [])).toEqual(['05000500', 'hello'])
  })

  it('S138 by default a client that is told to be on loopback reaches nothing local; the proxy itself does', async () => {
    const echo = await startEchoTarget()
    const fixture = await startBehind()
    for (const header of [
      proxied(1, { host: '127.0.0.1', port: 1 }),
      proxied(2, { host: '::1', port: 1 }),
      Buffer.from('PROXY UNKNOWN\r\n'),
    ]) {
      expect((await ask(await connectFrom('127.0.0.2', fixture), echo, [header]))[0]).toBe('05000502')
    }
    expect(await ask(await connectFrom('127.0.0.2', fixture), echo, [LOCAL])).toEqual(['05000500', 'hello'])
    expect(fixture.sessions.map(({ isLocal }) => isLocal)).toEqual([false, false, false, true])
  })

  it('S138 maxConnectionsPerClient counts who is told of, not the proxy', async () => {
    const fixture = await startBehind({ maxConnectionsPerClient: 1 })
    const greet = async (host: string): Promise<string> => {
      const client = await connectFrom('127.0.0.2', fixture)
      client.write(Buffer.concat([proxied(2, { host, port: 1 }), GREETING_NO_AUTH]))
      return client.read(2)
    }
    expect([await greet('192.0.2.5'), await greet('192.0.2.6'), await greet('2001:db8::1')]).toEqual([
      '0500',
      '0500',
      '0500',
    ])
    expect(await greet('192.0.2.5')).toBe('')
    expect(await greet('2001:db8::1')).toBe('')
    await vi.waitFor(() => expect(fixture.all).toHaveLength(2), 10_000)
    expect(fixture.all.map(({ reason, session }) => [reason, session.clientAddress])).toEqual([
      ['limit', '192.0.2.5'],
      ['limit', '2001:db8::1'],
    ])
  })

  it('S138 health checks are no errors: LOCAL or any header and the end, or the end at once, by FIN or by reset', async () => {
    const fixture = await startBehind()
    const checks = [Buffer.alloc(0), LOCAL, V2, V1, Buffer.from('PROXY UNKNOWN\r\n')]
    for (const check of checks) {
      for (const isReset of [false, true]) {
        const client = await connectFrom('127.0.0.2', fixture)
        if (check.length > 0) await client.send(check)
        if (isReset) client.reset()
        else client.end()
        await vi.waitFor(() => expect(fixture.server.stats().connections).toBe(0), 10_000)
        client.stream.destroy()
      }
    }
    expect(fixture.all.map(({ reason, error }) => [reason, error])).toEqual(
      checks.flatMap(() => [
        ['empty', undefined],
        ['empty', undefined],
      ]),
    )
    expect(fixture.errors).toEqual([])
    // Half a header is none.
    const client = await connectFrom('127.0.0.2', fixture)
    client.stream.end(V2.subarray(0, 10))
    await client.readToEnd()
    await vi.waitFor(() => expect(fixture.errors.map(codeOf)).toEqual(['ERR_SOCKS_CONNECTION_CLOSED']), 10_000)
  })

  it('S138 peers of Unix sockets are believed where unix is listed, and there alone', async () => {
    const path = join(testDirectory(), 'door')
    const dial = async (server: { listen(where: { path: string }): Promise<unknown> }, at: string) => {
      await server.listen({ path: at })
      const socket = connect({ path: at, allowHalfOpen: true })
      await once(socket, 'connect')
      cleanup(() => socket.destroy())
      return new RawClient(socket)
    }
    const fixture = await startBehind({ proxyProtocol: ['unix'] })
    const client = await dial(fixture.server, path)
    client.write(Buffer.concat([V2, GREETING_NO_AUTH]))
    expect(await client.read(2)).toBe('0500')
    expect(fixture.sessions).toMatchObject([{ clientAddress: '192.0.2.5', isLocal: false }])
    // A TCP peer is another matter.
    const tcp = await connectFrom('127.0.0.1', fixture)
    tcp.write(GREETING_NO_AUTH)
    expect(await tcp.read(2)).toBe('0500')
    const other = await startBehind({ proxyProtocol: ['0.0.0.0/0', '::/0'] })
    const plain = await dial(other.server, `${path}2`)
    plain.write(GREETING_NO_AUTH)
    expect(await plain.read(2)).toBe('0500')
    expect(other.sessions).toMatchObject([{ clientAddress: undefined, isLocal: true }])
  })

  it('S138 a range matches an IPv4 peer of a dual-stack listener; a stream of handle is asked for nothing', async () => {
    const fixture = await startBehind({ proxyProtocol: ['127.0.0.0/30'], allowAnonymous: true })
    const dual = await fixture.server.listen({ port: 0, host: '::' })
    const client = await connectFrom('127.0.0.2', dual)
    client.write(Buffer.concat([V1, GREETING_NO_AUTH]))
    expect(await client.read(2)).toBe('0500')
    const outside = await connectFrom('127.0.0.4', dual)
    outside.write(GREETING_NO_AUTH)
    expect(await outside.read(2)).toBe('0500')
    const [near, far] = duplexPair()
    fixture.server.handle(near, { clientAddress: '127.0.0.2' })
    const stream = new RawClient(far)
    stream.write(GREETING_NO_AUTH)
    expect(await stream.read(2)).toBe('0500')
  })

  it.each([
    'not a list',
    {},
    ...[5, null, '', 'localhost', '*', '.example.com', '127.1', '10.0.0.1/8', '10.0.0.0/33', 'fe80::1%eth0'],
    ...['unix:80', 'UNIX'],
    // Ports of peers change with each connection: a pattern that has one would not mean what it seems to.
    ...['10.0.0.1:80', '10.0.0.0/8:80,443', '[::1]:443', '[2001:db8::]/32:1-65535'],
  ])('refuses %j, also as one of several', (wrong) => {
    const target = { host: '127.0.0.1', port: 9 }
    for (const list of typeof wrong === 'object' && wrong !== null ? [wrong] : [wrong, [wrong], ['127.0.0.1', wrong]]) {
      // `as`: wrong on purpose
      const proxyProtocol = list as string[]
      for (const create of [
        () => createSocksServer({ proxyProtocol }),
        () => createForwardServer({ proxyProtocol, target }),
      ]) {
        expect(create).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
      }
    }
  })

  it('takes addresses in every form, and a copy of the list', async () => {
    const list = ['127.0.0.2', '::1', '[2001:db8::1]', '::ffff:10.0.0.1', '10.0.0.0/8', '2001:db8::/32', 'unix']
    const fixture = await startServer({ proxyProtocol: list })
    list.length = 0
    const client = await connectFrom('127.0.0.2', fixture)
    client.write(GREETING_NO_AUTH)
    expect((await client.readToEnd()).length).toBe(0)
    expect(() => createSocksServer({ proxyProtocol: [] })).not.toThrow()
  })
})

describe('a peer that was reset before it was accepted', () => {
  it('S138 S18 has no address to be judged by: it is nobody, and no error', async () => {
    const fixture = await startServer({ proxyProtocol: ['127.0.0.1'] })
    const sessions: Session[] = []
    fixture.server.on('session', (session) => sessions.push(session))
    // This process accepts nothing while it waits for that one.
    const script = `
      const socket = require('node:net').connect(${fixture.port}, '127.0.0.1', () => {
        socket.write('PROXY UNKNOWN\\r\\n', () => socket.resetAndDestroy())
      })`
    expect(spawnSync(process.execPath, ['-e', script]).status).toBe(0)
    const client = await fixture.client()
    client.write(Buffer.concat([V1, GREETING_NO_AUTH]))
    expect(await client.read(2)).toBe('0500')
    expect(sessions.map(({ clientAddress }) => clientAddress)).toEqual(['192.0.2.5'])
    expect(fixture.errors).toEqual([])
  })
})
