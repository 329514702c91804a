// Every operation of the client through proxies as people run them.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { createServer as createTlsServer } from 'node:tls'
import { describe, expect, it, vi } from 'vitest'
import { type ClientOptions, handshake, type ProxyOptions, SocksClient } from '../../src/client/index.js'
import { createSocksServer, type ServerOptions, userPass } from '../../src/server/index.js'
import { CERTIFICATE, PRIVATE_KEY } from '../client/certificate.js'
import { failure, PASSWORD, USER } from '../client/hygiene.js'
import { settlesAt } from '../support/descriptors.js'
import { requireProgram } from '../support/programs.js'
import { connectRequest } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'
import { startEcho } from '../support/targets.js'
import { shared, startDante, startDynamicForward, startMicrosocks, testDirectory } from './peers.js'
import { MAPPED_ADDRESS, MAPPED_NAME, startTor } from './tor.js'

const HELLO = Buffer.from('hello ')

/** CONNECT to an echo, with the first bytes in the same call; both ways of saying them. */
async function proveConnect(options: ClientOptions): Promise<void> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  for (const optimistic of [false, true]) {
    const client = new SocksClient({ ...options, optimistic })
    const { socket } = await client.connect({ host: '127.0.0.1', port: echo.port, firstData: HELLO })
    socket.end('world')
    expect(await text(socket)).toBe('hello world')
  }
}

/** BIND, with a peer that comes at once, from the address that is expected. */
async function proveBind(options: ClientOptions): Promise<void> {
  for (const optimistic of [false, true]) {
    const listener = await new SocksClient({ ...options, optimistic }).bind({ host: '127.0.0.1' })
    const peer = connect({ host: listener.address.host, port: listener.address.port, allowHalfOpen: true })
    cleanup(() => peer.destroy())
    peer.end('from the peer')
    const { socket, peer: from } = await listener.accept({ timeoutMs: 10_000 })
    expect(from.host).toBe('127.0.0.1')
    socket.end('to the peer')
    expect(await text(socket)).toBe('from the peer')
    expect(await text(peer)).toBe('to the peer')
  }
}

describe('tor, offline', () => {
  const program = requireProgram('tor', 'tor')
  const tor = shared([program], () => startTor())
  const proxy = (): string => `socks5h://127.0.0.1:${tor().port}`
  const far = { host: 'example.com', port: 80 }

  it.each([
    ['plain', {}],
    ['isolate', { isolate: true }],
    ['optimistic', { optimistic: true }],
    ['isolate and optimistic', { isolate: true, optimistic: true }],
  ])('C133 C134 C38 the handshake of a CONNECT is done and refused: no network (%s)', async (_what, options) => {
    const client = new SocksClient({ proxy: proxy(), ...options })
    const error = await failure(client.connect({ ...far, firstData: HELLO }), 'ERR_SOCKS_NETWORK_UNREACHABLE')
    expect(error).toMatchObject({ replyCode: 3, hop: 0, target: 'example.com:80' })
  })

  it('C67 refusals of its own: a private address, and an onion address that is none', async () => {
    const client = new SocksClient({ proxy: proxy() })
    await failure(client.connect({ host: '127.0.0.1', port: 80 }), 'ERR_SOCKS_GENERAL_FAILURE')
    const error = await failure(client.connect({ host: 'nobody.onion', port: 80 }), 'ERR_SOCKS_TOR_REPLY')
    expect(error.replyCode).toBe(0xf6)
  })

  it('C134 isolate: each connection is a stream with a user of its own', async () => {
    const events = await tor().events()
    const client = new SocksClient({ proxy: proxy(), isolate: true })
    for (let round = 0; round < 2; round++) expect(await client.resolve({ host: MAPPED_NAME })).toBe(MAPPED_ADDRESS)
    const users = () => [...events().matchAll(/NEWRESOLVE .* SOCKS_USERNAME="([^"]+)"/g)].map(([, user]) => user)
    expect(await settlesAt(() => users().length, 2)).toBe(2)
    expect(new Set(users()).size).toBe(2)
  })

  it.each([
    ['socks5h', {}],
    ['socks4a', {}],
    ['socks5h', { isolate: true, optimistic: true }],
  ])('C133 RESOLVE by %s, %o', async (scheme, options) => {
    const client = new SocksClient({ proxy: `${scheme}://127.0.0.1:${tor().port}`, ...options })
    expect(await client.resolve({ host: MAPPED_NAME })).toBe(MAPPED_ADDRESS)
    expect(await client.resolve({ host: '192.0.2.1' })).toBe('192.0.2.1')
  })

  it('C133 RESOLVE and RESOLVE_PTR that need the network', async () => {
    const client = new SocksClient({ proxy: proxy() })
    await failure(client.resolve({ host: 'example.com' }), 'ERR_SOCKS_HOST_UNREACHABLE')
    await failure(client.resolvePtr({ host: '192.0.2.1' }), 'ERR_SOCKS_HOST_UNREACHABLE')
  })

  it('it has neither BIND nor datagrams, and SOCKS4 has one refusal', async () => {
    const client = new SocksClient({ proxy: proxy() })
    await failure(client.bind(), 'ERR_SOCKS_COMMAND_NOT_SUPPORTED')
    await failure(client.udpAssociate(), 'ERR_SOCKS_COMMAND_NOT_SUPPORTED')
    const older = new SocksClient({ proxy: `socks4a://me@127.0.0.1:${tor().port}` })
    await failure(older.connect(far), 'ERR_SOCKS_GENERAL_FAILURE')
  })
})

describe('Dante', () => {
  const program = requireProgram('danted', 'dante-server')
  const dante = shared([program], () => startDante())
  const options = (): ClientOptions => ({ proxy: `socks5h://127.0.0.1:${dante().port}` })

  it('C39 CONNECT', () => proveConnect(options()))
  it('C39 C131 CONNECT by SOCKS4a', () => proveConnect({ proxy: `socks4a://127.0.0.1:${dante().port}` }))
  it('C89 BIND', () => proveBind(options()))

  it('C133 it knows no look-ups, and closes the connection over one', async () => {
    const client = new SocksClient(options())
    await failure(client.resolve({ host: 'localhost' }), 'ERR_SOCKS_CONNECTION_CLOSED')
  })

  it('datagrams', () => proveDatagrams(options()))
})

describe('ssh -D', () => {
  const programs = [requireProgram('sshd', 'openssh-server'), requireProgram('ssh', 'openssh-client')]
  const ssh = shared(programs, () => startDynamicForward())

  it('C39 CONNECT', () => proveConnect({ proxy: `socks5h://127.0.0.1:${ssh().port}` }))
})

describe('microsocks, which reads one message at a time', () => {
  const program = requireProgram('microsocks', 'microsocks')
  const micro = shared([program], () => startMicrosocks())
  const locked = shared([program], () => startMicrosocks({ username: USER, password: PASSWORD }))

  it('C39 CONNECT with first data behind the success', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const target = { host: '127.0.0.1', port: echo.port, firstData: HELLO }
    const { socket } = await SocksClient.connect({ proxy: `socks5h://127.0.0.1:${micro().port}`, ...target })
    expect(String((await once(socket, 'data'))[0])).toBe('hello ')
    socket.destroy()
  })

  it.each([
    ['without a password', ''],
    ['with a password', `${USER}:${PASSWORD}@`],
  ])('C38 optimistic ends in the timeout, and the message names the option: %s', async (_what, userinfo) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    cleanup(() => vi.useRealTimers())
    const { port } = userinfo === '' ? micro() : locked()
    const socket = connect(port, '127.0.0.1')
    const client = new SocksClient({ proxy: `socks5h://${userinfo}127.0.0.1:${port}`, optimistic: true })
    const target = { host: '127.0.0.1', port: 9, firstData: HELLO, timeoutMs: 10_000 }
    const attempt = failure(client.connect({ ...target, socket }), 'ERR_SOCKS_TIMEOUT')
    // It has answered the greeting.
    while (socket.bytesRead < 2) await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
    vi.advanceTimersByTime(10_000)
    expect((await attempt).message).toContain("try without 'optimistic'")
  })

  it('C38 what came early it has lost: told again, in its turn, it serves', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const socket = connect(micro().port, '127.0.0.1')
    cleanup(() => socket.destroy())
    const destination = { host: '127.0.0.1', port: echo.port }
    const again = connectRequest(destination.host, destination.port)
    const onStage = (stage: string) => void (stage === 'reply' && setImmediate(() => socket.write(again)))
    await handshake(socket, { destination, optimistic: true, firstData: HELLO, onStage })
    socket.write('world')
    expect(String((await once(socket, 'data'))[0])).toBe('world')
  })
})

describe('our own server', () => {
  const commands = ['connect', 'bind', 'udp-associate', 'resolve', 'resolve-ptr'] as const

  it.each(['TLS', 'a Unix socket', 'a Unix socket, with a password'])(
    'over %s: CONNECT, BIND, look-ups',
    async (way) => {
      const proxy = way === 'TLS' ? await startOverTls({ commands }) : await startOverUnix(way, { commands })
      await proveConnect({ proxy })
      await proveBind({ proxy })
      const client = new SocksClient({ proxy })
      expect(await client.resolve({ host: '127.0.0.1' })).toBe('127.0.0.1')
      expect(await client.resolvePtr({ host: '127.0.0.1' })).toBe('localhost')
    },
  )

  it('over TLS: datagrams', async () => proveDatagrams({ proxy: await startOverTls({ commands }) }))

  it('over a Unix socket: no datagrams, because nobody has an address there to take them from', async () => {
    const proxy = await startOverUnix('', { commands })
    await failure(new SocksClient({ proxy }).udpAssociate(), 'ERR_SOCKS_NOT_ALLOWED')
  })
})

async function proveDatagrams(options: ClientOptions): Promise<void> {
  const echo = createSocket('udp4', (data, { port, address }) => echo.send(data, port, address))
  cleanup(() => echo.close())
  echo.bind(0, '127.0.0.1')
  await once(echo, 'listening')
  for (const optimistic of [false, true]) {
    const association = await new SocksClient({ ...options, optimistic }).udpAssociate()
    cleanup(() => association.close())
    const answered = once(association, 'message')
    association.send('ping', echo.address().port, '127.0.0.1')
    expect(String((await answered)[0])).toBe('ping')
  }
}

async function startOverTls(options: ServerOptions): Promise<ProxyOptions> {
  const server = createSocksServer(options)
  cleanup(() => server.close({ graceMs: 0 }))
  const listener = createTlsServer({ cert: CERTIFICATE, key: PRIVATE_KEY, allowHalfOpen: true }, (socket) => {
    server.handle(socket, { clientAddress: socket.remoteAddress })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  cleanup(() => listener.close())
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { host: '127.0.0.1', port: address.port, tls: { ca: CERTIFICATE } }
}

async function startOverUnix(way: string, options: ServerOptions): Promise<ProxyOptions> {
  const isLocked = way.includes('password')
  const server = createSocksServer({ ...options, ...(isLocked && { auth: userPass({ [USER]: PASSWORD }) }) })
  cleanup(() => server.close({ graceMs: 0 }))
  const path = join(testDirectory(), 'proxy.sock')
  await server.listen({ path })
  return { path, ...(isLocked && { username: USER, password: PASSWORD }) }
}
